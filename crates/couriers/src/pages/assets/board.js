// Starts the scripts of the courier service's pages. The server stays the only one that renders:
// after each change the page is fetched again, and the parts that differ are put in place.

import './actions.js';
import { removeLanguageFromAddress } from './address.js';
import { startClock } from './clock.js';
import { $, $$ } from './dom.js';
import { openFeed } from './feed.js';

removeLanguageFromAddress();
if ($('.board-page')) {
  $('main').classList.add('scripted');
  for (const element of $$('#assign, #add')) element.hidden = false;
  startClock();
  openFeed();
}
