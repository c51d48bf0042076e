// What this browser remembers of its clips: id, delete token, the request as typed and the clip as last seen.
// The token is the only key to a clip, so it is written down before anything else happens. Beside them the token that
// making clips takes, where it takes one; it is sent as a header and never part of an address.

const KEY = 'meme-maker.clips';
const TOKEN_KEY = 'meme-maker.token';
const LIMIT = 20;

// Stand in when storage is switched off; the page then works until it is closed.
let unsaved = [];
let unsavedToken = '';

export function recall() {
  try {
    const records = JSON.parse(localStorage.getItem(KEY) ?? '[]');
    return Array.isArray(records) ? records.filter((record) => record?.id && record.clip) : [];
  } catch {
    return unsaved;
  }
}

export const find = (id) => recall().find((record) => record.id === id);

/// Adds a record at the front, or renews it where it stands.
export function remember(record) {
  const records = recall();
  const at = records.findIndex(({ id }) => id === record.id);
  if (at < 0) records.unshift(record);
  else records[at] = record;
  save(records.slice(0, LIMIT));
}

/// Keeps the clip as last seen; a clip this browser does not know stays unknown.
export function update(clip) {
  const record = find(clip.id);
  if (record) remember({ ...record, clip });
}

export function forget(id) {
  save(recall().filter((record) => record.id !== id));
}

export function recallToken() {
  try { return localStorage.getItem(TOKEN_KEY) ?? unsavedToken; } catch { return unsavedToken; }
}

export function rememberToken(token) {
  unsavedToken = token;
  try {
    if (token) localStorage.setItem(TOKEN_KEY, token);
    else localStorage.removeItem(TOKEN_KEY);
  } catch { /* kept in `unsavedToken` */ }
}

/// Calls back when another tab has changed the list.
export function onChange(callback) {
  addEventListener('storage', (event) => { if (event.key === KEY) callback(); });
}

function save(records) {
  unsaved = records;
  try { localStorage.setItem(KEY, JSON.stringify(records)); } catch { /* kept in `unsaved` */ }
}
