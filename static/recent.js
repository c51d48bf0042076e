// The list of clips this browser made, newest first.

import { button, el } from './dom.js';
import { recall } from './memory.js';
import { formatTime } from './time.js';
import { expiryWords, hasExpired, isOver, stateWords, titleWords } from './words.js';

const section = document.getElementById('recent');
const list = document.getElementById('recent-list');
let shown = '';

/// Draws the list. `hooks`: `show(record)`, `remove(record)`, and `missing(record)` when a poster is not there any more.
export function drawRecent(hooks) {
  const records = recall();
  // Drawing anew drops focus and scroll position, so it is done only when a word of the list has changed.
  const words = JSON.stringify(records.map((record) => [record.id, titleWords(record.clip), metaWords(record)]));
  if (words === shown) return;
  shown = words;

  const focused = document.activeElement?.dataset?.key;
  section.hidden = records.length === 0;
  list.replaceChildren(...records.map((record) => item(record, hooks)));
  if (focused) [...list.querySelectorAll('[data-key]')].find((node) => node.dataset.key === focused)?.focus();
}

function item(record, hooks) {
  const { clip } = record;
  const playable = clip.state === 'ready' && !hasExpired(clip);
  const title = titleWords(clip);
  return el('li', { class: 'recent-item' },
    el('div', { class: 'thumb' },
      playable && clip.urls.poster
        ? el('img', { src: clip.urls.poster, alt: '', loading: 'lazy', onerror: (event) => { event.target.remove(); hooks.missing(record); } })
        : null,
      playable && clip.result.duration ? el('span', { class: 'thumb-length' }, formatTime(clip.result.duration)) : null),
    el('button', { type: 'button', class: 'button plain recent-title', onclick: () => hooks.show(record) }, el('span', {}, title)),
    el('p', { class: 'meta' }, metaWords(record)),
    keyed(`delete ${record.id}`, button('Delete', () => hooks.remove(record), 'plain quiet'), title));
}

function metaWords({ clip }) {
  if (clip.state === 'ready') return expiryWords(clip);
  const percent = !isOver(clip) && typeof clip.progress === 'number' ? `, ${Math.floor(clip.progress * 100)}%` : '';
  return stateWords(clip) + percent;
}

// The key lets focus return to the same button after a redraw; the name says which clip it deletes.
function keyed(key, node, title) {
  node.dataset.key = key;
  node.setAttribute('aria-label', `Delete ${title}`);
  return node;
}
