// The server's side of the conversation: requests, its problem documents, and the watch over a running clip.

import { isOver } from './words.js';

const QUIET_MS = 10000;
const POLL_MS = 2000;
const POLL_MAX_MS = 30000;
const TIMEOUT_MS = 30000;

/// An answer that is not a success. `unsure` means the request may have been carried out all the same.
export class ApiError extends Error {
  constructor({ message, code, hint, field, status = 0, unsure = false, retryAfter = 0 }) {
    super(message);
    Object.assign(this, { code, hint, field, status, unsure, retryAfter });
  }
}

export const createClip = (body, key, token) => request('POST', '/api/clips', { body, token, headers: { 'Idempotency-Key': key } });
export const getClip = (id) => request('GET', clipPath(id));
export const cancelClip = (id, token) => request('POST', `${clipPath(id)}/cancel`, { token });
export const retryClip = (id, token) => request('POST', `${clipPath(id)}/retry`, { token });
export const deleteClip = (id, token) => request('DELETE', clipPath(id), { token });

/// The server has forgotten the clip, or never knew it.
export const isGone = (error) => error.status === 404 || error.status === 410;

/// The service lets nobody make clips without a token, and this was none that it takes.
export const wantsToken = (error) => ['token_needed', 'token_invalid', 'token_scope'].includes(error.code);

/// crypto.randomUUID is missing outside a secure context, such as plain http on a local network.
export function newKey() {
  if (crypto.randomUUID) return crypto.randomUUID();
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, '0')).join('');
}

/// Follows a clip until it is over. `seen` gets each clip, `lost` an error each time the server could not be asked;
/// the watch then goes on, unless the clip is gone. Returns a function that ends the watch.
export function watchClip(clip, { seen, lost }) {
  let known = clip;
  let timer;
  let stopped = false;
  let failures = 0;
  // While events flow, asking is only a check on silence: a proxy may hold them back.
  let pause = QUIET_MS;
  const events = new EventSource(`${clipPath(clip.id)}/events`);

  function stop() {
    stopped = true;
    events.close();
    clearTimeout(timer);
  }

  function askIn(ms) {
    clearTimeout(timer);
    if (!stopped) timer = setTimeout(ask, ms);
  }

  function take(change) {
    if (stopped) return;
    known = { ...known, ...change };
    failures = 0;
    if (isOver(known)) stop();
    else askIn(pause);
    seen(known);
  }

  async function ask() {
    try {
      take(await getClip(clip.id));
    } catch (error) {
      if (stopped) return;
      failures += 1;
      if (isGone(error)) stop();
      else askIn(Math.min(Math.max(POLL_MS * 2 ** failures, error.retryAfter * 1000), POLL_MAX_MS));
      lost(error);
    }
  }

  events.addEventListener('state', (event) => take(JSON.parse(event.data)));
  events.addEventListener('progress', (event) => {
    const change = JSON.parse(event.data);
    // Progress carries no result, so the end is only ever taken from a whole clip.
    if (!isOver(change)) take(change);
  });
  // The browser would reconnect by itself after some failures only; polling works after all of them.
  events.addEventListener('error', () => {
    events.close();
    pause = POLL_MS;
    if (!stopped) ask();
  });
  askIn(pause);
  return stop;
}

const clipPath = (id) => `/api/clips/${encodeURIComponent(id)}`;

async function request(method, path, { body, headers = {}, token } = {}) {
  let response;
  try {
    response = await fetch(path, {
      method,
      headers: {
        Accept: 'application/json',
        ...(body && { 'Content-Type': 'application/json' }),
        ...(token && { Authorization: `Bearer ${token}` }),
        ...headers,
      },
      body: body && JSON.stringify(body),
      signal: AbortSignal.timeout(TIMEOUT_MS),
    });
    if (response.ok) return response.status === 204 ? null : await response.json();
  } catch {
    throw new ApiError({
      message: 'The server could not be reached.',
      hint: 'Check your connection, then try again. Nothing you typed is lost.',
      code: 'network',
      unsure: true,
    });
  }
  throw await problem(response);
}

async function problem(response) {
  // A proxy in front may answer with a page of its own.
  const said = await response.json().catch(() => ({}));
  return new ApiError({
    message: said.detail || said.title || `The server answered with error ${response.status}.`,
    hint: said.hint || (said.detail ? '' : 'Wait a moment, then try again.'),
    code: said.code || `http_${response.status}`,
    field: said.field,
    status: response.status,
    unsure: response.status === 502 || response.status === 504,
    retryAfter: Number(response.headers.get('Retry-After')) || 0,
  });
}
