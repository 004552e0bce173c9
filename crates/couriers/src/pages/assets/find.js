// The search: shows results while the reader types. `/` moves to the field, Enter opens the first
// result or the marked one, and Esc clears the field.

import { $, $$, announce } from './dom.js';
import { visible } from './visible.js';
import { counted, words } from './words.js';

/** The pause after a key before the search is requested, in ms. */
const DELAY = 120;
const MAX_RESULTS = 8;

let request;
let timer;
/** The text of the results that are shown. */
let shownFor;
/** The place of the marked result. */
let marked = -1;

const field = () => $('.find input');
const results = () => $$('#found [role=option]');

export function startFind() {
  const input = field();
  input.setAttribute('role', 'combobox');
  input.setAttribute('aria-controls', 'found');
  input.setAttribute('aria-autocomplete', 'list');
  input.ariaExpanded = 'false';
  input.addEventListener('input', () => {
    clearTimeout(timer);
    timer = setTimeout(search, DELAY);
  });
  input.addEventListener('keydown', press);
  input.addEventListener('blur', close);
  // The field keeps the focus while a result is clicked.
  $('#found').addEventListener('mousedown', (event) => event.preventDefault());
  $('#found').addEventListener('click', (event) => {
    const result = event.target.closest('[role=option]');
    if (result) open(result);
  });
  addEventListener('keydown', (event) => {
    const isTyping = event.target.closest('input:not([type=checkbox]), textarea, select, dialog');
    if (event.key !== '/' || isTyping || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    input.focus();
    input.select();
  });
}

async function press(event) {
  const all = results();
  if (event.key === 'Escape') {
    event.preventDefault();
    event.target.value = '';
    close();
  } else if (event.key === 'ArrowDown' || event.key === 'ArrowUp') {
    event.preventDefault();
    mark(marked + (event.key === 'ArrowDown' ? 1 : -1), all);
  } else if (event.key === 'Enter') {
    const text = event.target.value.trim();
    event.preventDefault();
    if (!text) return;
    if (shownFor !== text) await search();
    // Without a result, the page of the search explains that.
    const result = results()[Math.max(0, marked)];
    if (result) open(result);
    else location.assign(`/?q=${encodeURIComponent(text)}`);
  }
}

/** Requests the results for the text of the field; an answer to an earlier text is dropped. */
async function search() {
  clearTimeout(timer);
  request?.abort();
  const text = field().value.trim();
  if (!text) {
    close();
    return;
  }
  const mine = new AbortController();
  request = mine;
  const address = `/search?q=${encodeURIComponent(text)}&limit=${MAX_RESULTS}`;
  try {
    const headers = { accept: 'application/json' };
    const answer = await fetch(address, { headers, signal: mine.signal, cache: 'no-store' });
    if (request !== mine) return;
    if (!answer.ok) throw new Error(`${address}: ${answer.status}`);
    show(await answer.json(), text);
  } catch {
    if (request !== mine || mine.signal.aborted) return;
    close();
    announce(words.search_failed);
  }
}

function show({ orders, couriers }, text) {
  const options = [
    ...couriers.map((one) => option(`/courier/${one.id}`, one.name, [
      words.courier, words.states[one.status], one.phone,
    ])),
    ...orders.map((one) => option(`/?q=${encodeURIComponent(one.order_id)}`, one.order_id, [
      words.order, words.states[one.state], one.courier_name ?? '',
    ])),
  ];
  options.forEach((one, at) => { one.id = `found-${at}`; });
  $('#found').replaceChildren(...(options.length ? options : [nothing()]));
  shownFor = text;
  openList();
  mark(options.length ? 0 : -1, options);
  announce(options.length ? counted(words.found, options.length) : words.nothing_found);
}

function option(href, name, notes) {
  const item = document.createElement('li');
  item.setAttribute('role', 'option');
  item.dataset.href = href;
  const [first, second] = [document.createElement('bdi'), document.createElement('bdi')];
  first.textContent = visible(name);
  second.textContent = visible(notes.filter(Boolean).join(' · '));
  second.className = 'quiet';
  item.append(first, ' ', second);
  return item;
}

function nothing() {
  const item = document.createElement('li');
  item.className = 'quiet';
  item.setAttribute('role', 'presentation');
  item.textContent = words.nothing_found;
  return item;
}

function openList() {
  $('#found').hidden = false;
  field().ariaExpanded = 'true';
}

function close() {
  clearTimeout(timer);
  request?.abort();
  request = undefined;
  shownFor = undefined;
  $('#found').hidden = true;
  $('#found').replaceChildren();
  mark(-1, []);
  field().ariaExpanded = 'false';
}

function mark(place, all) {
  marked = all.length ? Math.max(0, Math.min(place, all.length - 1)) : -1;
  all.forEach((one, at) => { one.ariaSelected = String(at === marked); });
  const chosen = all[marked];
  if (chosen) field().setAttribute('aria-activedescendant', chosen.id);
  else field().removeAttribute('aria-activedescendant');
  chosen?.scrollIntoView({ block: 'nearest' });
}

function open(result) {
  location.assign(result.dataset.href);
}
