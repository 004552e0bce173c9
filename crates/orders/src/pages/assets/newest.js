// The list of the newest orders, live.

import { $, parsePage } from './dom.js';
import { visible } from './visible.js';
import { orderPath } from './paths.js';
import { refreshTimes } from './times.js';

const MAX_ROWS = 12;

/** Orders that have arrived and are not yet shown, the oldest first. */
const arrivals = new Map();

export function addArrival(order) {
  arrivals.delete(order.order_uid);
  arrivals.set(order.order_uid, order);
  if (arrivals.size > MAX_ROWS) arrivals.delete(arrivals.keys().next().value);
}

/** Shows the new orders. Called twice a second, because hundreds may arrive in that time. */
export function showArrivals() {
  const list = $('#newest');
  // A row must not move away from under the mouse or lose the focus.
  if (!list || !arrivals.size || list.matches(':hover, :focus-within')) return;
  const rows = new Map([...list.children].map((row) => [row.dataset.uid, row]));
  for (const order of arrivals.values()) {
    rows.get(order.order_uid)?.remove();
    list.prepend(makeRow(order));
  }
  arrivals.clear();
  while (list.children.length > MAX_ROWS) list.lastElementChild.remove();
  $('#no-orders').hidden = true;
  refreshTimes();
}

function makeRow(order) {
  const row = $('#newest-row').content.firstElementChild.cloneNode(true);
  const link = $('a', row);
  row.dataset.uid = order.order_uid;
  $('bdi', link).textContent = visible(order.order_uid);
  link.href = orderPath(order.order_uid);
  $('time', row).dateTime = order.at;
  return row;
}

/** Loads the list and the number of rejected records again, after the feed has skipped events. */
export async function reloadLists() {
  arrivals.clear();
  try {
    const answer = await fetch('/', { headers: { accept: 'text/html' } });
    if (!answer.ok) return;
    const page = parsePage(await answer.text());
    const list = $('#newest', page);
    if (list) $('#newest')?.replaceWith(list);
    $('#rejected-total').replaceWith($('#rejected-total', page));
    refreshTimes();
  } catch { /* The service is unreachable: the feed reports that. */ }
}
