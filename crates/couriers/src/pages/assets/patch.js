// Makes the board on the page equal to a newer one. An element that is in both stays the same
// element, so that it keeps the focus, and a click on it is not lost.

import { $ } from './dom.js';

const LISTS = ['#waiting', '#road', '#idle'];
/** The parents of titles, figures and notes. */
const LINES = ['.figures', '.lane:nth-child(1)', '.lane:nth-child(2)', '.lane:nth-child(3)'];

export function patchBoard(page) {
  const focused = document.activeElement;
  const lane = focused?.closest('.lane');
  for (const list of LISTS) patchCards($(list), $(list, page));
  for (const parent of LINES) patchLines($(parent), $(parent, page));
  if (!lane || document.activeElement === focused) return;
  // The element with the focus was removed or moved. The focus must not go to a neighbour, where
  // the next key would do what was meant for this card.
  if (focused.isConnected) focused.focus();
  else $('h2', lane).focus();
}

/** Adds, removes and moves cards, and changes those that stay. */
function patchCards(list, fresh) {
  const cards = [...fresh.children];
  const keys = new Set(cards.map((card) => card.dataset.key));
  for (const card of [...list.children]) if (!keys.has(card.dataset.key)) card.remove();
  const known = new Map([...list.children].map((card) => [card.dataset.key, card]));
  let place = list.firstElementChild;
  for (const card of cards) {
    const kept = known.get(card.dataset.key) ?? document.importNode(card, true);
    if (!known.has(card.dataset.key)) kept.classList.add('new');
    // `morph` sets the class of the fresh card, which must not end the animation.
    else if (kept.classList.contains('new')) card.classList.add('new');
    morph(kept, card);
    if (kept === place) place = place.nextElementSibling;
    else list.insertBefore(kept, place);
  }
}

/** Patches the children that are not cards: titles, figures and notes. */
function patchLines(parent, fresh) {
  const lines = (root) => [...root.children].filter((line) => line.dataset.key);
  const old = new Map(lines(parent).map((line) => [line.dataset.key, line]));
  for (const line of lines(fresh)) {
    const known = old.get(line.dataset.key);
    old.delete(line.dataset.key);
    if (known) morph(known, line);
    else parent.append(document.importNode(line, true));
  }
  for (const gone of old.values()) gone.remove();
}

/** Makes an element equal to another, and touches only what differs. */
function morph(old, fresh) {
  for (const { name, value } of fresh.attributes) {
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  for (const { name } of [...old.attributes]) {
    // The page itself sets these two: a button that waits, a card that is new or late.
    const isOurs = name === 'aria-disabled' || name === 'class';
    if (!fresh.hasAttribute(name) && !isOurs) old.removeAttribute(name);
  }
  const [before, after] = [[...old.childNodes], [...fresh.childNodes]];
  const isSameShape = before.length === after.length
    && before.every((node, at) => node.nodeName === after[at].nodeName);
  if (!isSameShape) {
    old.replaceChildren(...after.map((node) => document.importNode(node, true)));
    return;
  }
  before.forEach((node, at) => {
    if (node.nodeType === Node.ELEMENT_NODE) morph(node, after[at]);
    else if (node.data !== after[at].data) node.data = after[at].data;
  });
}
