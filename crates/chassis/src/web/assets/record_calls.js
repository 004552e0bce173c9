// The calls of the pages of rejected records, and the texts of these pages.

import { $, $$, announce, notice, parsePage } from './dom.js';

export const words = JSON.parse($('main').dataset.words);

const STORED_NAME = 'waybill.actor';

export const number = (value) => value.toLocaleString(document.documentElement.lang);

/** Replaces each `{}` by the next value. */
export const fill = (text, ...values) => values.reduce(
  (filled, value) => filled.replace('{}', () => value),
  text,
);

/** Sends a call with the reader's name. A body is sent as JSON, whatever text it is. */
export function post(url, { body, accept = 'application/json', signal } = {}) {
  const headers = { accept };
  const name = $('#actor')?.value.trim();
  // A header consists of bytes: those of the name in UTF-8.
  if (name) headers['x-actor'] = String.fromCharCode(...new TextEncoder().encode(name));
  if (body !== undefined) headers['content-type'] = 'application/json';
  return fetch(url, { method: 'POST', headers, body, signal });
}

/** Returns the text of an error, with the rules that a body breaks. */
export async function describe(answer) {
  const problem = await answer.json().catch(() => ({}));
  const rules = (problem.errors ?? [])
    .map(({ pointer, message }) => `${pointer} ${message}`.trim());
  const isKafka = problem.type === '/docs#kafka-unavailable';
  const text = isKafka ? words.not_confirmed : problem.detail ?? words.unreachable;
  return [text, ...rules].join(' · ');
}

/** Sends a call, and then shows the page as it is after it, or the error. */
export async function change(button, url, body, done) {
  button.disabled = true;
  notice('');
  announce(words.sending);
  try {
    const answer = await post(url, { body });
    if (answer.ok) {
      await refresh();
      announce(done);
    } else {
      notice(await describe(answer));
    }
  } catch {
    notice(words.unreachable);
  }
  button.disabled = false;
}

/** Fetches this page again, and shows the number of records that are left, if it has one. */
async function fetchPage() {
  const answer = await fetch(location.href, { headers: { accept: 'text/html' } });
  const page = parsePage(await answer.text());
  const total = $('#rejected-total', page);
  if (total) $('#rejected-total')?.replaceWith(total);
  return page;
}

/** The live count does not know of records that were settled. */
export async function refreshTotal() {
  await fetchPage().catch(() => {});
}

async function refresh() {
  const page = await fetchPage();
  const main = $('main', page);
  if (!main) throw new TypeError('the answer is not a page of this service');
  $('main').replaceWith(main);
  prepare();
}

/** Makes a new <main> ready. */
export function prepare() {
  for (const edit of $$('#edit')) edit.hidden = false;
  for (const note of $$('#note')) note.disabled = false;
  const actor = $('#actor');
  if (!actor) return;
  try {
    actor.value ||= localStorage.getItem(STORED_NAME) ?? '';
  } catch { /* The browser keeps nothing for this page. */ }
}

addEventListener('change', ({ target }) => {
  if (target.id !== 'actor') return;
  try {
    localStorage.setItem(STORED_NAME, target.value.trim());
  } catch { /* The name is used on this page only. */ }
});
