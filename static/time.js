// Times as people write them and as they like to read them. All values are seconds.

const UNITS = /^(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s?)?$/i;
const SECONDS = /^(?:\d+\.?\d*|\.\d+)$/;

/// 83, 83.5, 83,5, 1:23.5, 1:02:03 and 1m23s become seconds; anything else is null.
export function parseTime(text) {
  const value = text.trim().replace(',', '.');
  if (value === '') return null;
  const units = UNITS.exec(value);
  if (units) return toSeconds(Number(units[1] ?? 0), Number(units[2] ?? 0), Number(units[3] ?? 0));

  const parts = value.split(':');
  const last = parts.pop();
  if (parts.length > 2 || !SECONDS.test(last) || parts.some((part) => !/^\d+$/.test(part))) return null;
  const smaller = [...parts.slice(1), ...(parts.length ? [last] : [])];
  if (smaller.some((part) => Number(part) >= 60)) return null;
  const [minutes, hours] = parts.reverse().map(Number);
  return toSeconds(hours ?? 0, minutes ?? 0, Number(last));
}

// Rounded to microseconds, so that 60 + 23.1 is sent as 83.1.
function toSeconds(hours, minutes, seconds) {
  return Math.round((hours * 3600 + minutes * 60 + seconds) * 1e6) / 1e6;
}

/// 83.5 -> "1:23.5", 3723 -> "1:02:03".
export function formatTime(seconds) {
  const whole = Math.round(seconds * 1000);
  const hours = Math.floor(whole / 3600000);
  const minutes = Math.floor(whole / 60000) % 60;
  const rest = String((whole % 60000) / 1000);
  const padded = /^\d(\.|$)/.test(rest) ? `0${rest}` : rest;
  return hours ? `${hours}:${String(minutes).padStart(2, '0')}:${padded}` : `${minutes}:${padded}`;
}

/// The moment a link points at: `t=83`, `t=1m23s`, `#t=1:23`, and the range of a media fragment, `#t=10,20`.
export function timesInLink(link) {
  let url;
  try { url = new URL(link); } catch { return { start: null, end: null }; }
  const fragment = new URLSearchParams(url.hash.slice(1)).get('t');
  const [start, end] = (fragment ?? '').split(',');
  const from = parseTime(start || url.searchParams.get('t') || '');
  const to = parseTime(end ?? '');
  return { start: from, end: to };
}

/// 42 -> "about 42 s", 100 -> "about 2 min".
export function roughly(seconds) {
  if (seconds < 1) return 'a moment';
  return seconds < 90 ? `about ${Math.ceil(seconds)} s` : `about ${Math.round(seconds / 60)} min`;
}

const relative = new Intl.RelativeTimeFormat('en', { numeric: 'always' });

/// How long a moment in the future is away: "in 6 days". Null when it has passed.
export function untilWords(moment, now = Date.now()) {
  const minutes = (new Date(moment) - now) / 60000;
  if (!(minutes > 0)) return null;
  if (minutes < 1) return 'in less than a minute';
  if (minutes < 90) return relative.format(Math.round(minutes), 'minute');
  if (minutes < 36 * 60) return relative.format(Math.round(minutes / 60), 'hour');
  return relative.format(Math.round(minutes / 1440), 'day');
}
