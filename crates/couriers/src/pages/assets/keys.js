// The keys of the board: arrows move through the rows, letters act on the row with the focus, or on
// all selected ones.

import { $, $$, announce } from './dom.js';
import { undoLast } from './done.js';
import { clearPicked, pickedRows, togglePicked } from './selection.js';
import { fill, words } from './words.js';

/** The buttons of a row, by the letter that presses them. */
const BUTTONS = {
  a: () => '[data-act=assign]',
  t: () => '[data-act=choose]',
  u: () => '[data-act=unassign]',
  c: () => '[data-act=end]',
  p: (row) => `[data-status=${row.dataset.state === 'paused' ? 'available' : 'paused'}]`,
  r: (row) => `[data-status=${row.dataset.state === 'retired' ? 'available' : 'retired'}]`,
};

/** The buttons for all selected rows. */
const BUTTONS_FOR_ALL = {
  a: () => '[data-all=assign]',
  u: () => '[data-all=unassign]',
  p: (row) => `[data-all=status][data-status=${row.dataset.state === 'paused' ? 'available' : 'paused'}]`,
  r: (row) => `[data-all=status][data-status=${row.dataset.state === 'retired' ? 'available' : 'retired'}]`,
};

export function startKeys() {
  $('#show-keys').addEventListener('click', () => $('#keys').showModal());
  addEventListener('keydown', (event) => {
    const { target, key } = event;
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
    if (target.closest('dialog, input:not([type=checkbox]), textarea, select')) return;
    if (press(letterOf(event) ?? key, target)) event.preventDefault();
  });
}

/** The Latin letter of a key, also on a keyboard with other letters. */
function letterOf({ key, code }) {
  if (/^[a-z]$/i.test(key)) return key.toLowerCase();
  return key.length === 1 ? /^Key([A-Z])$/.exec(code)?.[1].toLowerCase() : undefined;
}

/** Does what a key means. Returns false for a key without a meaning here. */
function press(key, target) {
  const row = target.closest('.row');
  if (key === '?') {
    $('#keys').showModal();
  } else if (key === 'z') {
    undoLast();
  } else if (key === 'Escape') {
    clearPicked();
  } else if (key === 'ArrowDown' || key === 'ArrowUp') {
    return moveDown(row, target, key === 'ArrowDown' ? 1 : -1);
  } else if (key === 'ArrowRight' || key === 'ArrowLeft') {
    return moveAcross(row, key === 'ArrowRight' ? 1 : -1);
  } else if (key === 'x' && row) {
    togglePicked(row);
  } else if (BUTTONS[key] && row) {
    act(key, row);
  } else {
    return false;
  }
  return true;
}

function act(key, row) {
  const picked = pickedRows();
  if (picked.length && BUTTONS_FOR_ALL[key]) {
    $('#picked').querySelector(BUTTONS_FOR_ALL[key](picked[0]))?.click();
    return;
  }
  const button = $(BUTTONS[key](row), row);
  if (button) button.click();
  else announce(fill(words.skipped, $('.name', row).textContent.trim()));
}

const focusRow = (row) => $('.name', row).focus();

/** Moves to the next row of the list, or from the page itself to the first row. */
function moveDown(row, target, step) {
  if (row) {
    const rows = $$('.row', row.closest('.lane'));
    const next = rows[rows.indexOf(row) + step];
    if (next) focusRow(next);
    return true;
  }
  const first = $('.row', target.closest('.lane') ?? $('main'));
  if (!first || !target.matches('body, main, h2')) return false;
  focusRow(first);
  return true;
}

/** Moves to the row at the same height of the next list that has rows. */
function moveAcross(row, step) {
  if (!row) return false;
  const lanes = $$('.lane');
  const top = row.getBoundingClientRect().top;
  let at = lanes.indexOf(row.closest('.lane')) + step;
  while (lanes[at] && !$('.row', lanes[at])) at += step;
  if (!lanes[at]) return true;
  const distance = (one) => Math.abs(one.getBoundingClientRect().top - top);
  const nearest = $$('.row', lanes[at]).reduce((a, b) => (distance(b) < distance(a) ? b : a));
  focusRow(nearest);
  return true;
}
