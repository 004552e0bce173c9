// The texts of this page, and numbers and durations in its language.

import { $ } from './dom.js';

export const lang = document.documentElement.lang;
export const words = JSON.parse($('meta[name="words"]').content);

/** The index of a form in a list of one, few, many. */
const FORMS = { one: 0, few: 1 };
const MANY = 2;
const plural = new Intl.PluralRules(lang);

/** Replaces `{}` by a value. */
export const fill = (text, value) => text.replace('{}', () => value);

export function number(value, digits = 0) {
  return new Intl.NumberFormat(lang, { maximumFractionDigits: digits }).format(value);
}

/** The form of a noun that goes with `count`, with the count in it. */
export function counted(forms, count) {
  return fill(forms[FORMS[plural.select(count)] ?? MANY], number(count));
}

/** A duration in its largest unit, such as `5 min`. */
export function duration(ms) {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  const steps = [[60, 1, 0], [3600, 60, 1], [86400, 3600, 2], [Infinity, 86400, 3]];
  const [, divisor, unit] = steps.find(([end]) => seconds < end);
  return `${number(Math.floor(seconds / divisor))}\u00a0${words.units[unit]}`;
}

/** Formats a time of day with seconds. */
export const clock = new Intl.DateTimeFormat(lang, { timeStyle: 'medium', hourCycle: 'h23' });

/** Formats a time of day without seconds. */
export const shortClock = new Intl.DateTimeFormat(lang, { timeStyle: 'short', hourCycle: 'h23' });
