// Fetches this page again and shows what differs. One request runs at a time; a call during it
// causes one more.

import { setClock } from './clock.js';
import { $ } from './dom.js';
import { fetchPage } from './fetch.js';
import { refreshPages, watchMore } from './pages.js';
import { patchArticle, patchBoard } from './patch.js';
import { showPicked } from './selection.js';

/** The shortest time between two requests because of the feed, in ms. */
const MIN_INTERVAL = 500;

let isFetching = false;
/** The argument of the latest call during a request. */
let next;
let timer;
let startedAt = 0;
/** The time of the change that the feed has reported last. */
let reported = '';

/** Shows the board of the feed's event, unless the page shows the same one already. */
export function follow({ at, changed_at: changedAt }) {
  reported = changedAt;
  if (Date.parse($('main').dataset.changed) === Date.parse(changedAt)) return;
  clearTimeout(timer);
  timer = setTimeout(() => refresh(at), Math.max(0, startedAt + MIN_INTERVAL - Date.now()));
}

/**
 * Shows the board of the time `at`, which all readers share because the feed has named it. Without
 * `at`, the service makes a fresh one.
 */
export async function refresh(at = '') {
  if (isFetching) {
    next = at;
    return;
  }
  isFetching = true;
  startedAt = Date.now();
  clearTimeout(timer);
  const change = reported;
  const address = new URL(location.href);
  address.hash = '';
  const isBoard = Boolean($('.board-page'));
  if (at && isBoard) address.searchParams.set('at', at);
  const page = await fetchPage(address);
  if (page && isBoard && $('.board-page', page)) {
    patchBoard(page);
    showPicked();
    watchMore();
    refreshPages();
  } else if (page && $('.courier-page', page)) {
    patchArticle($('article'), $('article', page));
  }
  const main = page && $('main[data-at]', page);
  if (main) {
    // A courier's page does not name the change that it includes.
    $('main').dataset.changed = main.dataset.changed ?? change;
    setClock(main);
  }
  isFetching = false;
  if (next !== undefined) {
    const wanted = next;
    next = undefined;
    refresh(wanted);
  }
}
