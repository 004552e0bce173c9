// Starts the scripts of the order service's pages. Without them all still works: the server renders
// every page, and the scripts fetch its pages and put parts of them in place.

import { removeLanguageFromAddress } from './address.js';
import { showDocumentTime } from './answer.js';
import { copy } from './copy.js';
import { $ } from './dom.js';
import { connect } from './feed.js';
import { showArrivals } from './newest.js';
import { prepare } from './page.js';
import './search.js';
import { refreshTimes } from './times.js';
import { words } from './words.js';

const TIMES_INTERVAL = 1000;
const ARRIVALS_INTERVAL = 500;

addEventListener('click', (event) => {
  const button = event.target.closest?.('#copy-link');
  if (button) copy(button, location.origin + location.pathname, words);
});

removeLanguageFromAddress();
prepare();
showDocumentTime();
if (location.pathname === '/') $('.find input')?.focus({ preventScroll: true });
setInterval(refreshTimes, TIMES_INTERVAL);
setInterval(showArrivals, ARRIVALS_INTERVAL);
connect();
