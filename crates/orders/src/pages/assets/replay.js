// The forms of rejected records: sends a record again, as received or edited, and filters the list.

import { $, announce, notice } from './dom.js';
import { show } from './page.js';
import { words } from './words.js';

async function replay(form) {
  const button = $('button', form);
  const edited = $('textarea', form)?.value;
  const headers = { accept: 'application/json' };
  if (edited !== undefined) headers['content-type'] = 'application/json';
  button.disabled = true;
  notice('');
  announce(words.sending);
  try {
    const answer = await fetch(form.action, { method: 'POST', headers, body: edited });
    if (answer.ok) {
      await show(new URL(location.href), { push: false, keepFocus: true });
      announce(words.replayed);
    } else {
      notice(await describe(answer));
    }
  } catch {
    notice(words.unreachable);
  }
  button.disabled = false;
}

/** The text of an error, with the rules that an edited record breaks. */
async function describe(answer) {
  const problem = await answer.json().catch(() => ({}));
  const rules = (problem.errors ?? [])
    .map(({ pointer, message }) => `${pointer} ${message}`.trim());
  const text = answer.status === 503 ? words.not_sent : problem.detail ?? words.unreachable;
  return [text, ...rules].join(' · ');
}

addEventListener('submit', (event) => {
  if (!event.target.closest('#replay, #edit')) return;
  event.preventDefault();
  replay(event.target);
});

addEventListener('change', (event) => {
  if (event.target.matches('.filter select')) event.target.form.requestSubmit();
});

// A reason that the reader chose before this script ran.
const reasons = $('.filter select');
if (reasons) {
  const shown = [...reasons.options].find((one) => one.defaultSelected) ?? reasons.options[0];
  if (!shown.selected) reasons.form.requestSubmit();
}
