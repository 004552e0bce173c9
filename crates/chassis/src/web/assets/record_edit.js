// Editing a rejected record: the service checks the text while it is typed and before it is sent.

import { $, notice, parsePage } from './dom.js';
import { change, post, words } from './record_calls.js';

const TYPING_PAUSE = 400;

let typing;
let request;
let newest;

/** An empty body would stand for the record as it was received. */
const textOf = (form) => $('textarea', form).value || ' ';

/** Shows the check of a text. Returns true if it violates no rule. */
function check(form) {
  newest = showCheck(form);
  return newest;
}

async function showCheck(form) {
  clearTimeout(typing);
  request?.abort();
  const mine = new AbortController();
  request = mine;
  const shown = $('#check', form);
  try {
    const call = { body: textOf(form), accept: 'text/html', signal: mine.signal };
    const answer = await post(form.dataset.check, call);
    if (!answer.ok) throw new Error(answer.status);
    shown.replaceChildren(...parsePage(await answer.text()).body.childNodes);
    return Boolean($('.good', shown));
  } catch (error) {
    // A newer check has ended this one: when the form is opened, typed in, or sent.
    if (error.name === 'AbortError') return newest;
    shown.textContent = words.cannot_check;
    return false;
  }
}

async function send(form) {
  const button = $('.primary', form);
  const body = textOf(form);
  button.disabled = true;
  const isValid = await check(form);
  button.disabled = false;
  // A text that was changed during the check has not been checked.
  if (isValid && body === textOf(form)) await change(button, form.action, body, words.replayed);
  else notice(words.not_valid);
}

/** Selects a line of the text. */
function select(area, line) {
  const lines = area.value.split('\n');
  const start = lines.slice(0, line - 1).reduce((sum, one) => sum + one.length + 1, 0);
  area.setSelectionRange(start, start + (lines[line - 1]?.length ?? 0));
  area.focus();
}

addEventListener('input', ({ target }) => {
  const form = target.closest('#edit form');
  if (!form) return;
  clearTimeout(typing);
  typing = setTimeout(check, TYPING_PAUSE, form);
});

// The event does not bubble.
addEventListener('toggle', ({ target }) => {
  if (target.open && target.closest?.('#edit')) check($('form', target));
}, true);

addEventListener('click', ({ target }) => {
  const { toLine } = target.dataset ?? {};
  if (toLine) select($('#edit textarea'), Number(toLine));
});

addEventListener('submit', (event) => {
  if (!event.target.closest('#edit')) return;
  event.preventDefault();
  send(event.target);
});
