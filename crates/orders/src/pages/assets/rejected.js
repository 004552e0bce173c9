// The number of rejected records, live, and the link to new ones.

import { $, setText } from './dom.js';
import { counted, number, words } from './words.js';

let newRecords = 0;

export function countRejection() {
  newRecords += 1;
  const total = $('#rejected-total');
  // Without a number, the server's count is not exact, and one more does not change it.
  if (total.dataset.count) {
    total.dataset.count = Number(total.dataset.count) + 1;
    setText(total, ` ${number(total.dataset.count)}`);
  }
  const link = $('#new-rejected');
  if (!link) return;
  link.textContent = counted(words.new_rejected, newRecords);
  link.hidden = false;
}
