// The buttons and forms of the board and of a courier's page: each makes a call and shows its outcome.

import {
  addCourier, assign, setStatus, subjectOf, unassign,
} from './calls.js';
import { chooseCourier } from './chooser.js';
import { $ } from './dom.js';
import { report, reportAll } from './done.js';
import { refresh } from './refresh.js';
import { clearPicked, pickedRows } from './selection.js';

/** The actions of one row, by the value of `data-act`. Without an outcome, nothing was done. */
const ACTIONS = {
  assign: (subject) => assign(subject),
  async choose(subject) {
    const courier = await chooseCourier(subject.name);
    return courier && assign(subject, courier);
  },
  unassign: (subject) => unassign(subject),
  status: (subject, { status }) => setStatus(subject, status),
};

export function startActions() {
  addEventListener('click', async (event) => {
    const button = event.target.closest?.('button[data-act], button[data-all]');
    if (!button || button.ariaDisabled) return;
    // With `disabled`, the button would lose the focus.
    button.ariaDisabled = 'true';
    const { act, all, status } = button.dataset;
    if (all) {
      await applyToAll(ACTIONS[all], { status });
    } else {
      const outcome = await ACTIONS[act](subjectOf(button), { status });
      if (outcome) {
        report(outcome);
        await refresh();
      }
    }
    button.ariaDisabled = null;
  });

  addEventListener('submit', async (event) => {
    const form = event.target;
    if (form.method === 'dialog' || form.matches('.find')) return;
    event.preventDefault();
    const fields = Object.fromEntries(
      [...new FormData(form)].map(([name, value]) => [name, value.trim()]),
    );
    const id = fields.order_id;
    const outcome = form.id === 'add-form'
      ? await addCourier(fields)
      : await assign({ order: id, name: id, state: 'waiting' });
    report(outcome);
    if (!outcome.isDone) return;
    form.reset();
    form.closest('details').open = false;
    await refresh();
  });
}

/** Applies an action to the selected rows to which it can apply, one after the other. */
async function applyToAll(action, options) {
  const isForCouriers = Boolean(options.status);
  const rows = pickedRows().filter((row) => Boolean(row.dataset.courier) === isForCouriers);
  const outcomes = [];
  // The rows may leave the page in the meantime.
  for (const subject of rows.map(subjectOf)) outcomes.push(await action(subject, options));
  // The button with the focus is hidden with its bar.
  if ($('#picked').contains(document.activeElement)) $('main').focus();
  clearPicked();
  reportAll(outcomes);
  await refresh();
}
