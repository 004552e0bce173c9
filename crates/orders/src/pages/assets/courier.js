// The delivery of an order. The page asks the courier service itself, and works without it.

import { $, setText } from './dom.js';
import { visible } from './visible.js';
import { fill, number, shortClock, words } from './words.js';

const INTERVAL = 10_000;
/** The interval while a courier is being found. */
const SEARCH_INTERVAL = 2_000;
/** The interval after a change of the order, which takes a moment to reach the courier service. */
const CHANGE_INTERVAL = 500;
const CHANGE_PERIOD = 5_000;

let timer;
let changedAt = 0;

/** Says that the order may have changed: the next requests follow faster. */
export function expectChange() {
  changedAt = Date.now();
}

/** Asks for the delivery now, and again after an interval while the page is visible. */
export async function refreshCourier() {
  const section = $('#courier');
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
      show(section, describe(delivery));
      section.classList.toggle('late', delivery.state === 'overdue');
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

const show = (section, text) => setText($('p', section), text);

function describe({ state, why_not_assigned: reason, position, assignment }) {
  const time = (at) => shortClock.format(Date.parse(at));
  const parts = [];
  if (assignment) {
    if (assignment.courier_name) parts.push(visible(assignment.courier_name));
    parts.push(words[assignment.transport_type] ?? assignment.transport_type);
    const { completed_at: completedAt, deadline } = assignment;
    if (completedAt) parts.push(fill(words.delivered, time(completedAt)));
    else parts.push(fill(state === 'overdue' ? words.late : words.until, time(deadline)));
  } else if (reason) {
    parts.push(words[reason.code] ?? reason.message);
    if (position) parts.push(fill(words.place, number(position)));
  }
  return parts.join(', ') || words.no_delivery;
}
