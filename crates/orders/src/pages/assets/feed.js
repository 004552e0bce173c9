// The live feed of this page: passes its events on, and shows the rates or the cut.

import { offerVersion } from './answer.js';
import { showPublishedDelivery } from './courier.js';
import { $, announce, setText } from './dom.js';
import { openStream } from './live.js';
import { addArrival, reloadLists } from './newest.js';
import { countRejection } from './rejected.js';
import { refreshOrder, showPublished } from './status.js';
import { clock, counted, fill, number, words } from './words.js';

/** Longer than the interval of the server's heartbeats, which is 10 s. */
const TIMEOUT = 45_000;
const MAX_DELAY = 30_000;

let stream;

/** Connects to the feed of the page that is shown now. */
export function connect() {
  if (stream) stream.connect();
  else stream = open();
}

function open() {
  return openStream({
    address() {
      const { uid } = $('main').dataset;
      return uid ? `/live?order_uid=${encodeURIComponent(uid)}` : '/live';
    },
    // The feed begins with the events since the server wrote this page.
    lastEventId: $('meta[name="live"]').content,
    timeout: TIMEOUT,
    maxDelay: MAX_DELAY,
    events: {
      order(order) {
        addArrival(order);
        offerVersion(order);
      },
      status: showPublished,
      delivery: showPublishedDelivery,
      rejection: countRejection,
      rates: showRates,
      reset: reloadLists,
    },
    onOpen() {
      // A status that was recorded between the page and the feed is in neither.
      if ($('main').dataset.uid) refreshOrder().catch(() => { /* The next status repeats it. */ });
    },
    onBack() {
      announce(words.back);
      $('#rates').hidden = true;
    },
    onCut: showCut,
  });
}

function showRates(rates) {
  const parts = [counted(words.rate, Math.round(rates.orders_per_second))];
  if (typeof rates.lag_seconds === 'number') {
    parts.push(fill(words.lag, `${number(rates.lag_seconds, 1)}\u00a0${words.units[0]}`));
  }
  const element = $('#rates');
  element.classList.remove('cut');
  setText(element.lastElementChild, parts.join(' · '));
  element.hidden = false;
}

function showCut(since) {
  const element = $('#rates');
  const text = fill(words.cut, clock.format(since));
  if (!element.classList.contains('cut')) announce(text);
  element.classList.add('cut');
  setText(element.lastElementChild, text);
  element.hidden = false;
}
