// The selected rows, and the actions on all of them.

import { $, $$, setText } from './dom.js';
import { counted, words } from './words.js';

/** The rows that are selected. */
export const pickedRows = () => $$('.pick:checked').map((box) => box.closest('.row'));

/** Shows the number of selected rows, and the actions that apply to them. */
export function showPicked() {
  const bar = $('#picked');
  if (!bar) return;
  const rows = pickedRows();
  bar.hidden = !rows.length;
  if (!rows.length) return;
  setText($('b', bar), counted(words.rows_selected, rows.length));
  const hasOrders = rows.some((row) => row.dataset.order);
  const hasCouriers = rows.some((row) => row.dataset.courier);
  for (const button of $$('[data-all]', bar)) {
    button.hidden = !(button.dataset.all === 'status' ? hasCouriers : hasOrders);
  }
}

export function clearPicked() {
  for (const box of $$('.pick:checked')) box.checked = false;
  showPicked();
}

/** Selects a row, or no longer. */
export function togglePicked(row) {
  const box = $('.pick', row);
  box.checked = !box.checked;
  showPicked();
}

export function startSelection() {
  addEventListener('change', (event) => {
    if (event.target.matches('.pick')) showPicked();
  });
  $('#clear-picked').addEventListener('click', () => {
    clearPicked();
    $('main').focus();
  });
  // A browser may restore the fields of an earlier visit.
  clearPicked();
}
