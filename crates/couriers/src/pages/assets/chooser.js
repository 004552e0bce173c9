// The dialog that chooses a free courier. The service lists them as the match would take them.

import { $, $$, setText } from './dom.js';
import { fetchPage } from './fetch.js';
import { words } from './words.js';

/** The pause after a key before the list is requested, in ms. */
const DELAY = 150;

let request;
let timer;
/** Passes on the courier who is chosen. */
let settle = () => {};

/** Opens the dialog for an order. Returns the courier, or nothing if none is chosen. */
export function chooseCourier(orderName) {
  const dialog = $('#chooser');
  setText($('#chooser-order'), orderName);
  $('input', dialog).value = '';
  $('ul', dialog).replaceChildren();
  dialog.showModal();
  $('input', dialog).focus();
  list();
  return new Promise((resolve) => { settle = resolve; });
}

export function startChooser() {
  const dialog = $('#chooser');
  const input = $('input', dialog);
  dialog.addEventListener('close', () => {
    clearTimeout(timer);
    request?.abort();
    settle(undefined);
  });
  input.addEventListener('input', () => {
    clearTimeout(timer);
    timer = setTimeout(list, DELAY);
  });
  dialog.addEventListener('click', (event) => {
    const option = event.target.closest('[data-choice]');
    if (option) choose(option);
  });
  dialog.addEventListener('keydown', async (event) => {
    const options = $$('[data-choice]', dialog);
    const at = options.indexOf(event.target);
    if (event.key === 'Enter' && event.target === input) {
      event.preventDefault();
      // The list may be that of an earlier text.
      clearTimeout(timer);
      await list();
      const first = $('[data-choice]', dialog);
      if (first && dialog.open) choose(first);
    } else if (event.key === 'ArrowDown') {
      event.preventDefault();
      options[Math.min(at + 1, options.length - 1)]?.focus();
    } else if (event.key === 'ArrowUp' && at >= 0) {
      event.preventDefault();
      (options[at - 1] ?? input).focus();
    }
  });
}

function choose(option) {
  settle({ id: Number(option.dataset.choice), name: option.dataset.name });
  $('#chooser').close();
}

/** Lists the free couriers whom the text finds. */
async function list() {
  request?.abort();
  const mine = new AbortController();
  request = mine;
  const dialog = $('#chooser');
  const address = new URL('/?show=free', location.href);
  const text = $('input', dialog).value.trim();
  if (text) address.searchParams.set('q', text);
  const page = await fetchPage(address, mine.signal);
  // A newer list was requested, or the dialog is closed.
  if (request !== mine || !dialog.open) return;
  const rows = page ? $$('.row', page) : [];
  $('ul', dialog).replaceChildren(...rows.map(option));
  const status = $('[role=status]', dialog);
  if (!page) setText(status, words.search_failed);
  else setText(status, rows.length ? '' : words.nobody_free);
}

function option(row) {
  const [name, note] = [$('.name', row).textContent.trim(), $('.note', row).textContent.trim()];
  const button = document.createElement('button');
  button.type = 'button';
  button.dataset.choice = row.dataset.courier;
  button.dataset.name = name;
  const [first, second] = [document.createElement('bdi'), document.createElement('span')];
  first.textContent = name;
  second.textContent = note;
  second.className = 'quiet';
  button.append(first, ' ', second);
  const item = document.createElement('li');
  item.append(button);
  return item;
}
