// Small tools for building and announcing page content. Text enters only as text nodes, so nothing a user typed
// can become markup.

export function el(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith('on')) node.addEventListener(name.slice(2), value);
    else if (name === 'class') node.className = value;
    else node.setAttribute(name, value === true ? '' : value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

export function button(text, onclick, kind = '') {
  return el('button', { type: 'button', class: `button ${kind}`.trim(), onclick }, text);
}

/// What went wrong, the next step, and the code for whoever has to look it up.
export function errorBox({ message, hint, code }) {
  return el('div', { class: 'error-box' },
    el('p', {}, message),
    hint ? el('p', {}, hint) : null,
    code ? el('p', { class: 'error-code' }, `Code: ${code}`) : null);
}

/// The link in a field that can be selected by hand, with a button that copies it.
export function linkField(url, id = 'clip-link') {
  const input = el('input', { id, type: 'text', readonly: true, value: url });
  const copy = button('Copy link', null, 'primary');
  bindCopy(input, copy);
  return el('div', { class: 'link-field' }, el('label', { for: id, class: 'visually-hidden' }, 'Link to this clip'), input, copy);
}

export function bindCopy(input, copy) {
  const label = copy.textContent;
  // The button is the live region: its new name is what a screen reader should say.
  copy.setAttribute('aria-live', 'polite');
  input.addEventListener('focus', () => input.select());
  copy.addEventListener('click', async () => {
    copy.textContent = (await copyText(input)) ? 'Copied' : 'Copy it by hand';
    setTimeout(() => { copy.textContent = label; }, 2500);
  });
}

// navigator.clipboard exists only in a secure context; a server on the local network is often plain http.
async function copyText(input) {
  try {
    await navigator.clipboard.writeText(input.value);
    return true;
  } catch {
    input.focus();
    input.select();
    return document.execCommand('copy');
  }
}
