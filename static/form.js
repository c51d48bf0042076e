// The form: reads it into a request, says what is wrong at the field that is wrong, and fills it again.
// Checks here only save a round trip; the server is the judge.

import { errorBox } from './dom.js';
import { formatTime, parseTime, timesInLink } from './time.js';

const form = document.getElementById('make');
const fields = form.elements;
const alertBox = document.getElementById('make-alert');
const button = document.getElementById('make-button');
const options = document.getElementById('options');
const tokenField = document.getElementById('token-field');
const OPTIONAL = ['mode', 'title', 'height', 'mute'];
const timeWrong = (which) => `Write the ${which} as 83.5, 1:23.5 or 1:02:03.`;

/// Wires the form; `submit` gets a checked request.
export function setUpForm(submit) {
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    // A second press while the first is under way would only make a second clip.
    if (button.getAttribute('aria-disabled') === 'true') return;
    clearErrors();
    const wrong = findErrors();
    if (wrong.length) return showFieldErrors(wrong);
    submit(readRequest());
  });
  fields.url.addEventListener('input', takeTimesFromLink);
  form.addEventListener('input', (event) => {
    if (event.target.name) setFieldError(event.target.name, '');
    // An end before the start is put right from either side.
    if (event.target.name === 'start_time') setFieldError('end_time', '');
    showLength();
  });
}

export function setBusy(busy) {
  button.setAttribute('aria-disabled', String(busy));
  button.textContent = busy ? 'Sending…' : 'Make clip';
}

/// Shows an ApiError at its field, or above the button when it belongs to none.
export function showError(error) {
  if (error.field && document.getElementById(`${error.field}-error`)) {
    showFieldErrors([[error.field, [error.message, error.hint].filter(Boolean).join(' ')]]);
  } else {
    alertBox.replaceChildren(errorBox(error));
  }
}

/// Shows the field for the token with what is wrong; without words, puts it away.
export function askForToken(words) {
  tokenField.hidden = !words;
  if (words) showFieldErrors([['token', words]]);
  else fields.token.value = '';
}

/// The token in the field; null while nobody is asked for one.
export const typedToken = () => (tokenField.hidden ? null : fields.token.value.trim());

/// Puts an earlier request back. Times may be seconds or text as somebody wrote it in a link.
export function fillForm({ url = '', start_time = '', end_time = '', title = '', mode = 'exact', height = '', mute = false }) {
  clearErrors();
  fields.url.value = url;
  fields.start_time.value = typeof start_time === 'number' ? formatTime(start_time) : start_time;
  fields.end_time.value = typeof end_time === 'number' ? formatTime(end_time) : end_time;
  fields.title.value = title;
  fields.mode.value = mode;
  fields.height.value = height;
  fields.mute.checked = mute;
  showLength();
  form.scrollIntoView({ block: 'nearest' });
  const empty = ['url', 'start_time', 'end_time'].find((name) => !fields[name].value);
  (empty ? fields[empty] : button).focus({ preventScroll: true });
}

function readRequest() {
  const request = {
    url: readLink(),
    start_time: parseTime(fields.start_time.value),
    end_time: parseTime(fields.end_time.value),
    mode: fields.mode.value,
  };
  if (fields.title.value.trim()) request.title = fields.title.value.trim();
  if (fields.height.value) request.height = Number(fields.height.value);
  if (fields.mute.checked) request.mute = true;
  return request;
}

// Phones and address bars like to drop the scheme.
function readLink() {
  const link = fields.url.value.trim();
  return /^[a-z][a-z0-9+.-]*:/i.test(link) || !link ? link : `https://${link}`;
}

function findErrors() {
  const wrong = [];
  const start = parseTime(fields.start_time.value);
  const end = parseTime(fields.end_time.value);

  if (!readLink()) wrong.push(['url', 'Paste the link of a video.']);
  else if (!isWebLink(readLink())) wrong.push(['url', 'This is not a web link. It should begin with https://']);

  if (start === null) wrong.push(['start_time', fields.start_time.value.trim() ? timeWrong('start') : 'Say where the clip starts.']);
  if (end === null) wrong.push(['end_time', fields.end_time.value.trim() ? timeWrong('end') : 'Say where the clip ends.']);
  else if (start !== null && end <= start) wrong.push(['end_time', 'The end has to come after the start.']);

  // Nothing else fits into a header.
  if (typedToken() !== null && !/^[\x21-\x7e]+$/.test(typedToken())) wrong.push(['token', 'Paste the token here. It begins with mm_']);
  return wrong;
}

function isWebLink(link) {
  try {
    return ['http:', 'https:'].includes(new URL(link).protocol);
  } catch {
    return false;
  }
}

function showFieldErrors(wrong) {
  for (const [name, message] of wrong) setFieldError(name, message);
  const [first] = wrong[0];
  if (OPTIONAL.includes(first)) options.open = true;
  // `mode` is a group of radio buttons; the chosen one takes the focus.
  (fields[first].length && !fields[first].options ? form.querySelector(`[name=${first}]:checked`) : fields[first]).focus();
}

function setFieldError(name, message) {
  const line = document.getElementById(`${name}-error`);
  if (!line) return;
  line.textContent = message;
  line.hidden = !message;
  for (const field of form.querySelectorAll(`[name=${name}]`)) {
    if (message) field.setAttribute('aria-invalid', 'true');
    else field.removeAttribute('aria-invalid');
  }
}

function clearErrors() {
  for (const line of form.querySelectorAll('.field-error')) setFieldError(line.id.replace(/-error$/, ''), '');
  alertBox.replaceChildren();
}

// A link that is typed passes through moments nobody meant (t=1 on the way to t=1m23s), so what was taken from it is
// renewed for as long as nobody has changed it.
function takeTimesFromLink() {
  const { start, end } = timesInLink(readLink());
  for (const [field, moment] of [[fields.start_time, start], [fields.end_time, end]]) {
    if (moment === null || (field.value && field.value !== field.dataset.taken)) continue;
    field.value = field.dataset.taken = formatTime(moment);
  }
}

function showLength() {
  const start = parseTime(fields.start_time.value);
  const end = parseTime(fields.end_time.value);
  const known = start !== null && end !== null && end > start;
  document.getElementById('length').textContent = known ? formatTime(end - start) : '–';
}
