// The maker: joins the form, the clip being made and the list of recent clips.

import { createClip, deleteClip, getClip, isGone, newKey, wantsToken } from './api.js';
import { el, errorBox } from './dom.js';
import { askForToken, fillForm, setBusy, setUpForm, showError, typedToken } from './form.js';
import { JobCard } from './job.js';
import { find, forget, onChange, recall, recallToken, remember, rememberToken, update } from './memory.js';
import { drawRecent } from './recent.js';
import { timesInLink } from './time.js';
import { hasExpired, isOver } from './words.js';

const REFRESH_MS = 5000;

const jobPlace = document.getElementById('job');
const placeholder = jobPlace.firstElementChild;
const live = el('p', { class: 'visually-hidden', role: 'status' });
jobPlace.after(live);

const job = new JobCard(jobPlace, live, { changed: redraw, again: makeAgain, another, remove });

// A submit whose answer was lost may have been carried out. The same request is then sent under the same key, so
// that pressing the button again cannot make a second clip.
let unanswered = null;

const TOKEN_WORDS = {
  token_needed: 'Making clips takes a token here.',
  token_invalid: 'This token does not count here, or not any more.',
  token_scope: 'This token is not for making clips.',
};

async function submit(request) {
  const body = JSON.stringify(request);
  const key = unanswered?.body === body ? unanswered.key : newKey();
  unanswered = { body, key };
  const access = typedToken() ?? recallToken();
  setBusy(true);
  try {
    const { delete_token: token, ...clip } = await createClip(request, key, access);
    unanswered = null;
    // Only a token that was taken is worth remembering.
    rememberToken(access);
    askForToken('');
    const record = { id: clip.id, token, request, clip };
    remember(record);
    // A reload must not fill the form again from a link that has been used.
    history.replaceState(null, '', '/');
    show(record);
  } catch (error) {
    if (!error.unsure) unanswered = null;
    if (wantsToken(error)) askForToken(TOKEN_WORDS[error.code]);
    else showError(error);
  } finally {
    setBusy(false);
  }
}

function show(record) {
  job.show(record);
  redraw();
  jobPlace.scrollIntoView({ block: 'nearest' });
}

function redraw() {
  drawRecent({ show, remove, missing: refresh });
}

function makeAgain({ request, clip }) {
  fillForm(request ?? { url: clip.recipe.url });
}

function another({ request, clip }) {
  fillForm({ ...request, url: request?.url ?? clip.recipe.url, start_time: '', end_time: '', title: '' });
}

async function remove(record) {
  const known = find(record.id) ?? record;
  // Only what somebody may still want is worth a question.
  if ((known.clip.state === 'ready' || !isOver(known.clip)) && !hasExpired(known.clip) && !(await sureToDelete())) return;
  const place = document.getElementById('recent-alert');
  place.replaceChildren();
  try {
    await deleteClip(known.id, known.token);
  } catch (error) {
    // Gone already is as good as deleted.
    if (!isGone(error)) {
      place.replaceChildren(errorBox(error));
      return place.scrollIntoView({ block: 'nearest' });
    }
  }
  forget(known.id);
  if (job.id === known.id) job.close(placeholder);
  redraw();
  live.textContent = 'Clip deleted';
}

function sureToDelete() {
  const dialog = document.getElementById('ask-delete');
  dialog.returnValue = 'keep';
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener('close', () => resolve(dialog.returnValue === 'delete'), { once: true });
  });
}

/// Asks the server once about a clip that is not being watched.
async function refresh({ id }) {
  try {
    update(await getClip(id));
  } catch (error) {
    const record = find(id);
    // Any other error says nothing about the clip; it stays as last seen.
    if (record && isGone(error)) update({ ...record.clip, state: 'expired' });
  }
  redraw();
}

// Clips running beside the one that is shown. They are polled one after the other, since each open event stream takes
// one of the six connections a browser allows.
async function refreshOthers() {
  for (const record of recall()) {
    if (record.id !== job.id && !isOver(record.clip)) await refresh(record);
  }
  redraw();
  setTimeout(refreshOthers, REFRESH_MS);
}

function start() {
  setUpForm(submit);
  const asked = new URLSearchParams(location.search);
  if (asked.has('url')) {
    const url = asked.get('url');
    const { start, end } = timesInLink(url);
    fillForm({ url, start_time: asked.get('start') || (start ?? ''), end_time: asked.get('end') || (end ?? '') });
  }
  const running = recall().find((record) => !isOver(record.clip));
  if (running) job.show(running);
  redraw();
  onChange(redraw);
  refreshOthers();
}

start();
