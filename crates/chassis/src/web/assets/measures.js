// The texts of the flow page, and its values and times in the language of the page.

import { $ } from './dom.js';
import { clock, lang } from './words.js';

export const texts = JSON.parse($('main').dataset.texts);
export const { range } = $('main').dataset;

// Made once: making a format takes longer than using it.
const decimals = [2, 1, 0].map((digits) => (
  new Intl.NumberFormat(lang, { maximumFractionDigits: digits })));
const dayAndClock = new Intl.DateTimeFormat(lang, {
  day: 'numeric', month: 'short', hour: '2-digit', minute: '2-digit', hourCycle: 'h23',
});
const day = new Intl.DateTimeFormat(lang, { day: 'numeric', month: 'short' });
const minute = new Intl.DateTimeFormat(lang, {
  hour: '2-digit', minute: '2-digit', hourCycle: 'h23',
});
const exact = new Intl.DateTimeFormat(lang, {
  dateStyle: 'medium', timeStyle: 'medium', hourCycle: 'h23',
});

/** A number with at most three digits, unless it is larger. */
function decimal(value) {
  const size = Math.abs(value);
  if (size < 9.995) return decimals[0].format(value);
  return decimals[size < 99.95 ? 1 : 2].format(value);
}

const UNITS = {
  per_second: (value) => `${decimal(value)}${texts.per_second}`,
  seconds: (value) => (value !== 0 && Math.abs(value) < 1
    ? `${decimal(value * 1000)}\u00a0${texts.milliseconds}`
    : `${decimal(value)}\u00a0${texts.seconds}`),
  percent: (value) => `${decimal(value)}\u00a0%`,
  count: decimal,
};

/** A value with its unit, or a dash for a missing one. */
export function shown(unit, value) {
  return value === null || value === undefined ? '–' : UNITS[unit](value);
}

/** A time of this range, in seconds since 1970. */
export function shownTime(second) {
  return (range === '15m' ? clock : dayAndClock).format(second * 1000);
}

/** A time below a chart; `increment` is the distance of two such times, in seconds. */
export function tickTime(second, increment) {
  if (increment >= 86_400) return day.format(second * 1000);
  if (increment < 60) return clock.format(second * 1000);
  return (range === '7d' ? dayAndClock : minute).format(second * 1000);
}

/** A time with its date. */
export const exactTime = (ms) => exact.format(ms);
