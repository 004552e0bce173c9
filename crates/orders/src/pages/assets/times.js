// Keeps the ages on the page up to date, and adds the exact local time to each time.

import { $$, setText } from './dom.js';
import { duration, lang } from './words.js';

const localTime = new Intl.DateTimeFormat(lang, {
  dateStyle: 'medium', timeStyle: 'long', hourCycle: 'h23',
});

export function refreshTimes() {
  for (const time of $$('time[datetime]')) {
    const at = Date.parse(time.dateTime);
    if (Number.isNaN(at)) continue;
    if (!time.title) time.title = localTime.format(at);
    if ('age' in time.dataset) setText(time, duration(Date.now() - at));
  }
}
