// The number of rejected records, live, and the link to new ones.

import { $, setText } from './dom.js';
import { counted, number, words } from './words.js';

/** The pause after the last new record until the number is read again. Its random part separates the
 * requests of pages that show the same records. */
const REST = 2000;
const SPREAD = 1000;

let newRecords = 0;
let correction;

export function countRejection() {
  newRecords += 1;
  const total = $('#rejected-total');
  // Without a number, the server's count is not exact, and one more does not change it.
  if (total.dataset.count) showTotal(total, Number(total.dataset.count) + 1);
  clearTimeout(correction);
  correction = setTimeout(correct, REST + Math.random() * SPREAD);
  const link = $('#new-rejected');
  if (!link) return;
  link.textContent = counted(words.new_rejected, newRecords);
  link.hidden = false;
}

function showTotal(total, count) {
  total.dataset.count = count;
  setText(total, count ? ` ${number(count)}` : '');
}

/** The number with which the page was loaded may contain a record whose event came later. */
async function correct() {
  try {
    const answer = await fetch('/rejected/count');
    if (!answer.ok) return;
    const { count, exact } = await answer.json();
    const total = $('#rejected-total');
    if (exact && total.dataset.count) showTotal(total, count);
  } catch { /* The service is unreachable: the feed reports that. */ }
}
