// The status, the history and the buttons of the order on this page.

import { expectChange, refreshCourier, showDelivery } from './courier.js';
import { $, $$, announce, notice, parsePage } from './dom.js';
import { orderPath } from './paths.js';
import { refreshTimes } from './times.js';
import { fill, words } from './words.js';

/** The delays before each attempt to see a change, in ms: the change comes back through Kafka. */
const DELAYS = [0, 50, 100, 200, 400, 800, 1600];
/** The delay before the next series of attempts, in ms. */
const SERIES_DELAY = 2_000;
const MAX_SERIES = 10;

const pause = (ms) => new Promise((resolve) => { setTimeout(resolve, ms); });

/** The number of the latest call of `refreshOrder`. */
let latest = 0;

/**
 * Fetches the page of the order until `isDone` returns true, and puts its status, history and
 * buttons in place. Returns true if it is done, false if not, and undefined if a later call or
 * another page has taken over.
 */
export async function refreshOrder(isDone = () => true) {
  latest += 1;
  const mine = latest;
  const { uid } = $('main').dataset;
  expectChange();
  for (const delay of DELAYS) {
    await pause(delay);
    const answer = await fetch(orderPath(uid), { headers: { accept: 'text/html' } });
    const page = parsePage(await answer.text());
    // While this call waited, another may have begun, or the reader may have left the order: this
    // page is then too old to be shown.
    if ($('main').dataset.uid !== uid || mine !== latest || !answer.ok) return undefined;
    for (const id of ['status', 'history', 'status-actions']) replacePart(id, page);
    showDelivery(page);
    refreshTimes();
    if (isDone()) {
      refreshCourier();
      return true;
    }
  }
  refreshCourier();
  return false;
}

function replacePart(id, page) {
  const [old, fresh] = [$(`#${id}`), $(`#${id}`, page)];
  if (!old || !fresh || old.innerHTML === fresh.innerHTML) return;
  const hadFocus = old.contains(document.activeElement);
  old.replaceWith(fresh);
  if (id === 'status') announce(fill(words.status_now, fresh.textContent));
  if (hadFocus) ($('button', fresh) ?? $('h1')).focus();
}

/** Asks for the status until it is known: a page sent while the database was slow lacks it. */
export async function refreshUntilKnown() {
  const { uid } = $('main').dataset;
  while ($('main').dataset.uid === uid && $('#status')?.hidden) {
    try {
      await refreshOrder(() => !$('#status').hidden);
    } catch { /* The service is unreachable: the feed reports that. */ }
    await pause(SERIES_DELAY);
  }
}

/**
 * Shows a status that was published. The service records it a moment later, or much later if the
 * database is slow. The entry may also be further down than the page shows.
 */
export async function showPublished(event) {
  const isHere = () => $('main').dataset.uid === event.order_uid;
  const entry = `[data-record="${event.partition}/${event.offset}"], #more-events`;
  try {
    for (let series = 0; series < MAX_SERIES && isHere(); series += 1) {
      if (await refreshOrder(() => $(entry)) !== false) return;
      await pause(SERIES_DELAY);
    }
  } catch { /* The service is unreachable: the feed reports that. */ }
}

/** Cancels or completes the order, and waits until the page shows it. */
async function changeStatus(form) {
  const buttons = $$('#status-actions button');
  for (const button of buttons) button.disabled = true;
  notice('');
  announce(words.sending);
  try {
    const headers = { accept: 'application/json' };
    const answer = await fetch(form.action, { method: 'POST', headers });
    if (answer.ok) {
      const before = $('#status')?.textContent;
      const isShown = await refreshOrder(() => $('#status')?.textContent !== before);
      if (isShown === false) notice(words.not_back);
    } else {
      const problem = await answer.json().catch(() => ({}));
      notice(answer.status === 503 ? words.not_sent : problem.detail ?? words.unreachable);
      await refreshOrder();
    }
  } catch {
    notice(words.unreachable);
  }
  for (const button of buttons) button.disabled = false;
}

addEventListener('submit', (event) => {
  if (!('changeStatus' in event.target.dataset)) return;
  event.preventDefault();
  changeStatus(event.target);
});
