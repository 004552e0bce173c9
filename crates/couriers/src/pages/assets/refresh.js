// Fetches the board and shows it. One request runs at a time; a call during it causes one more.

import { setClock } from './clock.js';
import { $, parsePage } from './dom.js';
import { patchBoard } from './patch.js';

let isFetching = false;
/** The argument of the latest call during a request. */
let next;

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
  try {
    const address = at ? `/?at=${encodeURIComponent(at)}` : '/';
    const answer = await fetch(address, { headers: { accept: 'text/html' }, cache: 'no-store' });
    const page = parsePage(await answer.text());
    if (answer.ok && $('.board-page', page)) {
      patchBoard(page);
      setClock($('main', page));
    }
  } catch { /* The service is unreachable: the feed reports that. */ }
  isFetching = false;
  if (next !== undefined) {
    const wanted = next;
    next = undefined;
    refresh(wanted);
  }
}
