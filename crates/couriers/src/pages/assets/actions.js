// The buttons and forms of the board: each calls the API and shows the result.

import { announce, notice } from './dom.js';
import { refresh } from './refresh.js';
import { words } from './words.js';

/** Makes a call. Returns true if the service has accepted it; `done` is announced then. */
async function call(method, path, body, done) {
  notice('');
  try {
    const answer = await fetch(path, {
      method,
      headers: { accept: 'application/json', 'content-type': 'application/json' },
      body: JSON.stringify(body),
    });
    if (answer.ok) {
      announce(done);
      await refresh();
      return true;
    }
    notice(describe(await answer.json().catch(() => ({}))));
  } catch {
    notice(words.unreachable);
  }
  return false;
}

/** The text of an error: by its type, by the fields that are wrong, or as the service wrote it. */
function describe(problem) {
  const known = words.problems[(problem.type ?? '').replace('/docs#', '')];
  const fields = (problem.errors ?? [])
    .map(({ pointer, message }) => words.fields[pointer.slice(1)] ?? message);
  return known ?? (fields.join(' · ') || problem.detail || words.unreachable);
}

const BUTTONS = 'button[data-assign], button[data-unassign], button[data-courier]';

addEventListener('click', async (event) => {
  const button = event.target.closest?.(BUTTONS);
  if (!button || button.ariaDisabled) return;
  // With `disabled`, the button would lose the focus.
  button.ariaDisabled = 'true';
  const { assign, unassign, courier, status } = button.dataset;
  if (assign) {
    await call('POST', '/delivery/assign', { order_id: assign }, words.assigned);
  } else if (unassign) {
    await call('POST', '/delivery/unassign', { order_id: unassign }, words.unassigned);
  } else {
    await call('PUT', '/courier', { id: Number(courier), status }, words.changed);
  }
  button.ariaDisabled = null;
});

addEventListener('submit', async (event) => {
  event.preventDefault();
  const form = event.target;
  const fields = Object.fromEntries(
    [...new FormData(form)].map(([name, value]) => [name, value.trim()]),
  );
  const isDone = form.id === 'add-form'
    ? await call('POST', '/courier', fields, words.added)
    : await call('POST', '/delivery/assign', fields, words.assigned);
  if (isDone) {
    form.reset();
    form.closest('details').open = false;
  }
});
