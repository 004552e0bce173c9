// The delivery of an order. The page contains the delivery that the order service has stored. The
// courier service knows more; the page asks it itself, and works without it.

import { $, announce, parsePage, setText } from './dom.js';
import { orderPath } from './paths.js';
import { refreshTimes } from './times.js';
import { visible } from './visible.js';
import { fill, number, shortClock, words } from './words.js';

const INTERVAL = 10_000;
/** The interval while a courier is being found. */
const SEARCH_INTERVAL = 2_000;
/** The interval after a change of the order, which takes a moment to reach the courier service. */
const CHANGE_INTERVAL = 500;
const CHANGE_PERIOD = 5_000;
/** The delays before each attempt to see a stored delivery, in ms. */
const DELAYS = [0, 50, 100, 200, 400, 800, 1600, 3200, 6400, 12_800];

let timer;
let changedAt = 0;

const pause = (ms) => new Promise((resolve) => { setTimeout(resolve, ms); });

/** Says that the order may have changed: the next requests follow faster. */
export function expectChange() {
  changedAt = Date.now();
}

/** Asks for the delivery now, and again after an interval while the page is visible. */
export async function refreshCourier() {
  const section = $('#courier[data-delivery]');
  clearTimeout(timer);
  if (!section) return;
  let interval = INTERVAL;
  try {
    const headers = { accept: 'application/json' };
    const answer = await fetch(section.dataset.delivery, { headers });
    if (answer.status === 404) {
      show(section, words.unknown_delivery);
    } else if (answer.ok) {
      const delivery = await answer.json();
      show(section, describe(delivery), { late: isLate(delivery), isWhole: true });
      linkCourier(section, delivery.assignment);
      if (['waiting', 'expected'].includes(delivery.state)) interval = SEARCH_INTERVAL;
    } else {
      throw new Error(`delivery: ${answer.status}`);
    }
    if (Date.now() - changedAt < CHANGE_PERIOD) interval = CHANGE_INTERVAL;
  } catch {
    show(section, words.couriers_unavailable);
  }
  if (!document.hidden) timer = setTimeout(refreshCourier, interval);
}

/** Shows the answer of the courier service: in place of the stored delivery, or below it. */
function show(section, text, { late = false, isWhole = false } = {}) {
  const [answer, stored] = [$('#courier-answer', section), $('#delivery', section)];
  setText(answer, text);
  answer.classList.toggle('late', late);
  answer.hidden = false;
  stored.hidden = isWhole || !stored.textContent;
}

/** Makes the courier's name a link to their page. */
function linkCourier(section, assignment) {
  const name = visible(assignment?.courier_name ?? '');
  if (!name) return;
  const [first] = $('#courier-answer', section).childNodes;
  const service = section.dataset.delivery.replace(/\/delivery\/[^/]*$/, '');
  const link = first.nodeName === 'A' ? first : document.createElement('a');
  link.href = `${service}/courier/${assignment.courier_id}`;
  if (link === first) return;
  link.textContent = name;
  first.replaceWith(link, first.data.slice(name.length));
}

const isLate = ({ state }) => state === 'overdue' || state === 'released';

function describe({ state, why_not_assigned: reason, position, assignment }) {
  const time = (at) => shortClock.format(Date.parse(at));
  const parts = [];
  if (assignment) {
    if (assignment.courier_name) parts.push(visible(assignment.courier_name));
    parts.push(words[assignment.transport_type] ?? assignment.transport_type);
    const { completed_at: completedAt, deadline } = assignment;
    if (completedAt) parts.push(fill(words.delivered, time(completedAt)));
    else if (state === 'released') parts.push(words.released);
    else parts.push(fill(state === 'overdue' ? words.late : words.until, time(deadline)));
  } else if (reason) {
    parts.push(words[reason.code] ?? reason.message);
    if (position) parts.push(fill(words.place, number(position)));
  }
  return parts.join(', ') || words.no_delivery;
}

/** The time and the number of the delivery that a page shows; zeros if it shows none. */
function shownIn(page) {
  const delivery = $('#delivery', page);
  const at = Date.parse($('.since', delivery)?.dateTime ?? '1970-01-01');
  return { at, number: Number(delivery.dataset.number ?? 0) };
}

const isBefore = (one, other) => one.at < other.at
  || (one.at === other.at && one.number < other.number);

/** Shows the stored delivery of a page of this order, unless it is older than the one shown. */
export function showDelivery(page) {
  const [old, fresh] = [$('#delivery'), $('#delivery', page)];
  if (!old || !fresh || !isBefore(shownIn(document), shownIn(page))) return;
  fresh.hidden = old.hidden && Boolean(old.textContent);
  old.replaceWith(fresh);
  $('#courier').hidden = false;
  announce(fresh.textContent.replace(/\s+/g, ' '));
}

/**
 * Shows a delivery that was published. The service stores it a moment later, or much later if the
 * database is slow; then the page shows it with the next change.
 */
export async function showPublishedDelivery(event) {
  const isHere = () => $('main').dataset.uid === event.order_id;
  const published = { at: Date.parse(event.at), number: event.number };
  try {
    for (const delay of DELAYS) {
      await pause(delay);
      if (!isHere()) return;
      const answer = await fetch(orderPath(event.order_id), { headers: { accept: 'text/html' } });
      const page = parsePage(await answer.text());
      if (!isHere() || !answer.ok) return;
      showDelivery(page);
      refreshTimes();
      if (!isBefore(shownIn(document), published)) break;
    }
    refreshCourier();
  } catch { /* The service is unreachable: the feed reports that. */ }
}
