// Starts the scripts of the pages of rejected records. Without them, all works except editing and
// notes: the server renders every page.

import { $, $$ } from './dom.js';
import { change, prepare, words } from './record_calls.js';
import './record_edit.js';
import './record_replays.js';

/** The values of the filter that need not be in the address. */
const DEFAULTS = { settled: 'false' };

addEventListener('submit', (event) => {
  const form = event.target;
  const isChange = ['replay', 'settle', 'reopen'].includes(form.id);
  if (!isChange) return;
  event.preventDefault();
  const note = form.id === 'settle' ? JSON.stringify({ note: $('#note').value }) : undefined;
  change($('button', form), form.action, note, form.id === 'replay' ? words.replayed : words.saved);
});

$('.filter')?.addEventListener('formdata', ({ formData }) => {
  for (const [name, value] of [...formData]) {
    if (value === (DEFAULTS[name] ?? '')) formData.delete(name);
  }
});

addEventListener('change', ({ target }) => {
  if (target.matches('.filter select')) target.form.requestSubmit();
});

prepare();
// A choice of the reader before this script ran.
const isChanged = (select) => {
  const shown = [...select.options].find((one) => one.defaultSelected) ?? select.options[0];
  return !shown.selected;
};
if ($$('.filter select').some(isChanged)) $('.filter').requestSubmit();
