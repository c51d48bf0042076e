// A clip told in words: the one place that turns what the server says into what people read.

import { formatTime, untilWords } from './time.js';

const OVER = new Set(['ready', 'expired', 'failed', 'cancelled']);

export const isOver = (clip) => OVER.has(clip.state);

/// Ready clips pass their expiry in this browser's memory without the server being asked.
export const hasExpired = (clip) =>
  clip.state === 'expired' || (clip.state === 'ready' && !clip.pinned && Boolean(clip.expires_at) && !untilWords(clip.expires_at));

export function stateWords(clip) {
  switch (clip.state) {
    case 'queued': return clip.queue_position > 1 ? `Number ${clip.queue_position} in line` : 'Next in line';
    case 'fetching': return 'Fetching the video';
    case 'cutting': return 'Cutting';
    case 'storing': return 'Saving the clip';
    case 'ready': return 'Ready';
    case 'expired': return 'Expired';
    case 'failed': return 'Failed';
    case 'cancelled': return 'Cancelled';
    default: return 'Working';
  }
}

export function titleWords(clip) {
  if (clip.title) return clip.title;
  try { return `Clip from ${new URL(clip.recipe.url).hostname.replace(/^www\./, '')}`; } catch { return 'Untitled clip'; }
}

export function methodWords({ method, reason, start }) {
  if (method === 'copy' && reason === 'sound') return 'Sound as it was in the source';
  return method === 'copy' ? `Fast cut, starts at ${formatTime(start)}` : 'Exact to the frame';
}

export function sizeWords(bytes) {
  if (bytes < 1e6) return `${Math.max(1, Math.round(bytes / 1e3))} kB`;
  return `${(bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)} MB`;
}

export function expiryWords(clip) {
  if (hasExpired(clip)) return 'Expired';
  if (clip.pinned || !clip.expires_at) return 'Kept until deleted';
  return `Expires ${untilWords(clip.expires_at)}`;
}
