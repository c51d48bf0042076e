// What a video looks like in the browser: played through, and at single frames.

const RATE = 30;
const WIDTH = 320;
const HEIGHT = 180;

/// Plays a video of the page's own site to its end; how long it was, and how many of its frames were broken.
export function playThrough(page, url) {
  return page.evaluate(async (url) => {
    const video = document.createElement('video');
    video.muted = true;
    video.src = url;
    document.body.append(video);
    const ended = new Promise((resolve, reject) => {
      video.onended = resolve;
      video.onerror = () => reject(new Error(video.error.message));
    });
    await video.play();
    await ended;
    const { corruptedVideoFrames: corrupted } = video.getVideoPlaybackQuality();
    const seconds = video.currentTime;
    video.remove();
    return { seconds, corrupted };
  }, url);
}

/// The brightness of a video of the page's own site at each of these frames, as rows of bytes.
export async function picturesAt(page, url, frames) {
  // The middle of a frame: no rounding leads to another one.
  const times = frames.map((frame) => (frame + 0.5) / RATE);
  const pictures = await page.evaluate(async ({ url, times, width, height }) => {
    const video = document.createElement('video');
    video.muted = true;
    video.preload = 'auto';
    const happens = (kind) => new Promise((resolve, reject) => {
      video.addEventListener(kind, resolve, { once: true });
      video.addEventListener('error', () => reject(new Error(video.error.message)), { once: true });
    });
    const loaded = happens('loadeddata');
    video.src = url;
    await loaded;
    const canvas = Object.assign(document.createElement('canvas'), { width, height });
    const context = canvas.getContext('2d', { willReadFrequently: true });
    const pictures = [];
    for (const time of times) {
      const there = happens('seeked');
      video.currentTime = time;
      await there;
      context.drawImage(video, 0, 0, width, height);
      const { data } = context.getImageData(0, 0, width, height);
      let bytes = '';
      for (let at = 0; at < data.length; at += 4) {
        bytes += String.fromCharCode((data[at] * 77 + data[at + 1] * 150 + data[at + 2] * 29) >> 8);
      }
      pictures.push(btoa(bytes));
    }
    return pictures;
  }, { url, times, width: WIDTH, height: HEIGHT });
  return pictures.map((picture) => Buffer.from(picture, 'base64'));
}

/// How far two pictures are apart: the mean over all places, of 255.
export function difference(a, b) {
  let sum = 0;
  for (let at = 0; at < a.length; at += 1) sum += Math.abs(a[at] - b[at]);
  return sum / a.length;
}
