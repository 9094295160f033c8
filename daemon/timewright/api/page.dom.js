// Making and changing what is shown. All text from outside goes through `el`, which makes text nodes of it and
// never markup.

import { printable } from './page.words.js';

const TONES = {
  DEPLOYED: 'good', DEPLOYMENT_FAILED: 'bad', DEPLOYING: 'busy', UNDEPLOYED: 'quiet', UNDEPLOYING: 'busy',
  ROLLING_BACK: 'busy', ROLLED_BACK: 'warn', OutOfSync: 'warn', Healthy: 'good', Degraded: 'warn', Missing: 'bad',
  Progressing: 'busy', Suspended: 'warn', live: 'good', failed: 'bad', running: 'busy', 'rolled back': 'warn',
  Current: 'good', Ramping: 'busy', Draining: 'quiet', Drained: 'quiet', Inactive: 'quiet', Unknown: 'warn',
};

/** An element; text among the children becomes text. */
export function el(name, given, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(given ?? {})) {
    if (value !== null && value !== undefined && value !== false) made.setAttribute(key, value === true ? '' : value);
  }
  for (const child of children.flat(3)) {
    if (child === null || child === undefined || child === '' || child === false) continue;
    made.append(child instanceof Node ? child : printable(child));
  }
  return made;
}

/** Text from outside, that turns nothing around it. */
export const outside = (text) => (text ? el('bdi', null, text) : null);
export const painted = (word) => (word ? el('span', { class: TONES[word] ?? null }, word) : null);

/** Make `old`'s children like these, leaving alone what is the same: focus, selection and scroll stay. */
export function show(old, ...children) {
  const wanted = el('div', null, ...children);
  morph(old, wanted, true);
}

function morph(old, wanted, onlyChildren = false) {
  if (!onlyChildren) {
    for (const { name } of [...old.attributes]) {
      if (!wanted.hasAttribute(name) && name !== 'open') old.removeAttribute(name);
    }
    for (const { name, value } of wanted.attributes) {
      if (old.getAttribute(name) !== value) old.setAttribute(name, value);
    }
  }
  const keyed = new Map([...old.children].filter((child) => child.dataset.key).map((child) => [child.dataset.key, child]));
  const kept = new Set([...wanted.children].map((child) => keyed.get(child.dataset.key)).filter(Boolean));
  let at = old.firstChild;
  for (const child of [...wanted.childNodes]) {
    while (at && at.nodeType === 1 && at.dataset.key && !kept.has(at)) at = removed(at);
    const match = child.nodeType === 1 && child.dataset.key ? keyed.get(child.dataset.key) : at;
    const same = match && match.nodeName === child.nodeName && (match.dataset?.key ?? '') === (child.dataset?.key ?? '');
    if (!same) {
      old.insertBefore(child, at);
      continue;
    }
    if (match === at) at = at.nextSibling;
    else old.insertBefore(match, at);
    if (child.nodeType === 1) morph(match, child);
    else if (match.data !== child.data) match.data = child.data;
  }
  while (at) at = removed(at);
}

function removed(node) {
  const next = node.nextSibling;
  node.remove();
  return next;
}
