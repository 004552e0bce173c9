// Makes the board on the page equal to a newer one. An element that is in both stays the same
// element, so that it keeps the focus, and a click on it is not lost.

import { $, $$ } from './dom.js';

export function patchBoard(page) {
  const focused = document.activeElement;
  const lane = focused?.closest('.lane');
  for (const parent of ['.figures', '.totals']) patchLines($(parent), $(parent, page));
  for (const fresh of $$('.lane', page)) {
    const old = $(`.lane[data-lane="${fresh.dataset.lane}"]`);
    patchLines(old, fresh);
    const known = byKey($$('.row', old));
    for (const list of $$('.part', fresh)) {
      patchList($(`.part[data-key="${list.dataset.key}"]`, old), list, known);
    }
  }
  if (!lane || document.activeElement === focused) return;
  // The element with the focus was removed or moved. The focus must not go to a neighbour, where
  // the next key would do what was meant for this row.
  if (focused.isConnected) focused.focus();
  else $('h2', lane).focus();
}

/** Makes an article equal to a newer one. */
export function patchArticle(old, fresh) {
  const focused = document.activeElement;
  morph(old, fresh);
  if (!focused.isConnected) $('main').focus();
}

/** The pages of a list that were loaded after its first one. */
export const furtherPages = (list) => $$('ol.further', list);

const byKey = (rows) => new Map(rows.map((row) => [row.dataset.key, row]));

/** Patches the first page of a list, and its lines. `known` are the rows of the lane before. */
function patchList(old, fresh, known) {
  old.hidden = fresh.hidden;
  const pages = furtherPages(old);
  const [rows, more] = [$('ol', old), $('.more', old)];
  patchRows(rows, $('ol', fresh), known);
  if (pages.length && $('.more', fresh)) {
    // The link continues after the last page that was loaded, not after the first one.
    const line = $('.more', fresh);
    if (more) line.replaceWith(more.cloneNode(true));
    else line.remove();
  } else {
    for (const page of pages) page.remove();
  }
  patchLines(old, fresh);
  removeRepeated(old);
}

/** A row may move from one page to the one before: it stays in the first of them. */
export function removeRepeated(list) {
  const known = new Set();
  for (const row of $$('.row', list)) {
    if (known.has(row.dataset.key)) row.remove();
    known.add(row.dataset.key);
  }
}

/**
 * Adds, removes and moves rows, and changes those that stay. A row of `known` that was in another list
 * stays the same element, too.
 */
export function patchRows(list, fresh, known = byKey([...list.children])) {
  list.dataset.end = fresh.dataset.end;
  if (!list.matches('.further')) list.classList.toggle('cards', fresh.matches('.cards'));
  const rows = [...fresh.children];
  const keys = new Set(rows.map((row) => row.dataset.key));
  for (const row of [...list.children]) if (!keys.has(row.dataset.key)) row.remove();
  let place = list.firstElementChild;
  for (const row of rows) {
    const kept = known.get(row.dataset.key) ?? document.importNode(row, true);
    if (!known.has(row.dataset.key)) kept.classList.add('new');
    // `morph` sets the class of the fresh row, which must not end the animation.
    else if (kept.classList.contains('new')) row.classList.add('new');
    morph(kept, row);
    if (kept === place) place = place.nextElementSibling;
    else list.insertBefore(kept, place);
  }
}

/** Patches the children that are not rows: titles, figures and notes. */
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
    // The page itself sets these two: a button that waits, a row that is new or late.
    const isOurs = name === 'aria-disabled' || name === 'class';
    if (!fresh.hasAttribute(name) && !isOurs) old.removeAttribute(name);
  }
  // The clock keeps the text of these.
  if (old.matches('time[data-age], time[data-until]')) return;
  const [before, after] = [[...old.childNodes], [...fresh.childNodes]];
  const isSameShape = before.length === after.length
    && before.every((node, at) => node.nodeName === after[at].nodeName);
  if (!isSameShape) {
    old.replaceChildren(...after.map((node) => document.importNode(node, true)));
    return;
  }
  before.forEach((node, at) => {
    if (node.nodeType !== Node.ELEMENT_NODE) {
      if (node.data !== after[at].data) node.data = after[at].data;
    } else if (!node.isEqualNode(after[at])) {
      // The browser compares faster than this script: most parts of a row are equal.
      morph(node, after[at]);
    }
  });
}
