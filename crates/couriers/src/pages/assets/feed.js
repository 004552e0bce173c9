// The live feed: fetches the page after each change, and shows whether it is live.

import { $, announce, setText } from './dom.js';
import { openStream } from './live.js';
import { follow } from './refresh.js';
import { clock, fill, words } from './words.js';

/** The service sends the figures every second. If they stop, its database may be unavailable. */
const TIMEOUT = 5_000;
const MAX_DELAY = 3_000;

export function openFeed() {
  openStream({
    address: () => '/live',
    timeout: TIMEOUT,
    maxDelay: MAX_DELAY,
    events: {
      board(figures) {
        showState(words.live, false);
        follow(figures);
      },
    },
    onBack: () => announce(words.back),
    onCut(since) {
      const text = fill(words.cut, clock.format(since));
      if (!$('#feed').classList.contains('cut')) announce(text);
      showState(text, true);
    },
  });
}

function showState(text, isCut) {
  const feed = $('#feed');
  feed.classList.toggle('cut', isCut);
  setText(feed.lastElementChild, text);
  feed.hidden = false;
}
