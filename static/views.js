// The faces of one clip, a class each: running, ready, failed, cancelled, expired. A view builds its nodes once from
// a record and the actions it may offer; an action that is missing leaves its button out.

import { button, el, errorBox, linkField } from './dom.js';
import { formatTime, roughly } from './time.js';
import { expiryWords, methodWords, sizeWords, stateWords, titleWords } from './words.js';

// Focused by script when the view before it held the focus.
const heading = (clip) => el('h2', { tabindex: '-1' }, titleWords(clip));
const problemPlace = () => el('div', { role: 'alert' });
const actionRow = (...buttons) => el('div', { class: 'actions' }, ...buttons);
const offer = (action, text, kind) => (action ? button(text, action, kind) : null);

export class RunningView {
  #state = el('p', { class: 'stage-state' });
  #percent = el('p', { class: 'stage-percent' });
  #bar = el('progress', { max: 1, 'aria-label': 'Progress' });
  #left = el('p', { class: 'meta' });
  problem = problemPlace();

  constructor({ clip }, actions) {
    this.root = el('div', { class: 'job-body' },
      el('div', { class: 'stage stage-running' }, el('div', { class: 'stage-words' }, this.#state, this.#percent), this.#bar),
      heading(clip),
      this.#left,
      this.problem,
      actionRow(offer(actions.cancel, 'Cancel')));
    this.update(clip);
  }

  update(clip) {
    this.#state.textContent = stateWords(clip);
    const known = typeof clip.progress === 'number';
    if (known) this.#bar.value = clip.progress;
    else this.#bar.removeAttribute('value');
    this.#percent.textContent = known ? `${Math.floor(clip.progress * 100)}%` : '';
    this.note(typeof clip.eta_seconds === 'number' ? `Ready in ${roughly(clip.eta_seconds)}. You can leave this page.` : 'You can leave this page; the clip waits for you here.');
  }

  note(words) { this.#left.textContent = words; }
}

/// What shows the file: by its format, for each of which a browser has its own element.
function player(clip) {
  const { result, urls } = clip;
  const name = titleWords(clip);
  const size = { width: result.width, height: result.height };
  switch (clip.recipe?.format) {
    case 'mp3':
    case 'm4a':
      return el('div', { class: 'stage stage-sound' },
        urls.poster ? el('img', { src: urls.poster, alt: '' }) : null,
        el('audio', { src: urls.file, controls: true, preload: 'metadata', 'aria-label': name }));
    case 'gif':
    case 'webp':
    case 'jpg':
      return el('div', { class: 'stage' }, el('img', { src: urls.file, ...size, alt: name }));
    default:
      return el('div', { class: 'stage' },
        el('video', {
          src: urls.file, poster: urls.poster, ...size,
          controls: true, playsinline: true, preload: 'metadata', 'aria-label': name,
        }));
  }
}

export class ReadyView {
  problem = problemPlace();

  constructor({ clip }, actions) {
    const { result, urls } = clip;
    const page = new URL(urls.page, location.href).href;
    this.root = el('div', { class: 'job-body' },
      player(clip),
      heading(clip),
      el('ul', { class: 'facts' },
        result.duration ? el('li', {}, formatTime(result.duration)) : null,
        result.width ? el('li', {}, `${result.width} × ${result.height}`) : null,
        el('li', {}, sizeWords(result.size)),
        el('li', {}, methodWords(result)),
        el('li', {}, expiryWords(clip))),
      linkField(page),
      this.problem,
      actionRow(
        el('a', { class: 'button', href: urls.download, download: true }, 'Download'),
        offer(actions.another, 'Another clip from this video'),
        offer(actions.remove, 'Delete', 'danger')));
  }
}

export class FailedView {
  problem = problemPlace();

  constructor({ clip }, actions) {
    const error = clip.error ?? { detail: 'The clip could not be made.' };
    this.root = el('div', { class: 'job-body' },
      el('div', { class: 'stage stage-still' }, el('p', { class: 'stage-state' }, 'No clip this time')),
      heading(clip),
      errorBox({ message: error.detail, hint: error.hint, code: error.code }),
      this.problem,
      actionRow(
        offer(actions.retry, 'Try again', 'primary'),
        offer(actions.again, 'Change the request'),
        offer(actions.remove, 'Delete', 'danger')));
  }
}

export class CancelledView {
  problem = problemPlace();

  constructor({ clip }, actions) {
    this.root = el('div', { class: 'job-body' },
      el('div', { class: 'stage stage-still' }, el('p', { class: 'stage-state' }, 'Cancelled')),
      heading(clip),
      el('p', { class: 'meta' }, 'This clip was cancelled before it was done.'),
      this.problem,
      actionRow(offer(actions.again, 'Make again', 'primary'), offer(actions.remove, 'Delete', 'danger')));
  }
}

export class ExpiredView {
  problem = problemPlace();

  constructor({ clip }, actions) {
    this.root = el('div', { class: 'job-body' },
      el('div', { class: 'stage stage-still' }, el('p', { class: 'stage-state' }, 'Expired')),
      heading(clip),
      el('p', { class: 'meta' }, 'Clips are kept for a while only. The request is still known and can be made again.'),
      this.problem,
      actionRow(offer(actions.again, 'Make again', 'primary'), offer(actions.remove, 'Delete', 'danger')));
  }
}
