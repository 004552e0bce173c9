// Starts the scripts of the courier service's pages. The server stays the only one that renders:
// after each change the page is fetched again, and the parts that differ are put in place.

import { startActions } from './actions.js';
import { removeLanguageFromAddress } from './address.js';
import { startChooser } from './chooser.js';
import { startClock } from './clock.js';
import { $, $$ } from './dom.js';
import { startDone } from './done.js';
import { openFeed } from './feed.js';
import { startFind } from './find.js';
import { startKeys } from './keys.js';
import { watchMore } from './pages.js';
import { refresh } from './refresh.js';
import { startSelection } from './selection.js';

removeLanguageFromAddress();
if ($('.board-page, .courier-page')) {
  $('main').classList.add('scripted');
  startClock();
  startActions();
  startDone(refresh);
  openFeed();
}
if ($('.board-page')) {
  for (const element of $$('#assign, #add')) element.hidden = false;
  startFind();
  startChooser();
  startSelection();
  startKeys();
  watchMore();
  // After a search, keys act on what it has found.
  if (new URLSearchParams(location.search).has('q')) $('.row .name')?.focus();
}
