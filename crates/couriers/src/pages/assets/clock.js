// Ages, deadlines and the time that is left, by the clock of the service.

import { $, $$, setText } from './dom.js';
import { duration, fill, shortClock, words } from './words.js';

const INTERVAL = 1000;

/** How far this browser's clock is ahead of the service's, in ms. */
let ahead = 0;
const now = () => Date.now() - ahead;

export function startClock() {
  setClock($('main'));
  setInterval(refreshTimes, INTERVAL);
}

/** Takes the time of the service from a board that it has just sent. */
export function setClock(main) {
  ahead = Date.now() - Date.parse(main.dataset.at);
  refreshTimes();
}

function refreshTimes() {
  for (const time of $$('time[data-age]')) {
    setText(time, duration(now() - Date.parse(time.dateTime)));
  }
  for (const time of $$('time[data-until]')) {
    const deadline = Date.parse(time.dateTime);
    const late = now() - deadline;
    setText(time, late > 0
      ? fill(words.late, duration(late))
      : fill(words.until, shortClock.format(deadline)));
    time.closest('.row').classList.toggle('late', late > 0);
  }
  for (const meter of $$('meter[data-to]')) {
    const [from, to] = [Date.parse(meter.dataset.from), Date.parse(meter.dataset.to)];
    meter.value = Math.max(0, Math.min(1, (to - now()) / (to - from)));
  }
}
