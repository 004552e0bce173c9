// Shows what was done, and undoes it.

import { $, announce, notice } from './dom.js';
import { fill, number, words } from './words.js';

const MAX_ENTRIES = 5;

/** The actions that can be undone, newest last: their element, and the calls that undo them. */
const undoable = [];
let afterwards = async () => {};

/** `then` is called after each undo. */
export function startDone(then) {
  afterwards = then;
  $('#close-done')?.addEventListener('click', () => {
    $('#done').hidden = true;
    $('#done ol').replaceChildren();
    undoable.length = 0;
    $('main').focus();
  });
}

/** Shows the outcome of one action. */
export function report(outcome) {
  notice('');
  if (!outcome.isDone) {
    notice(outcome.reason);
    return;
  }
  announce(outcome.text);
  const entry = add(outcome.text);
  if (outcome.undo) offerUndo(entry, [outcome.undo], words.undo);
}

/** Shows the outcomes of an action on several rows. */
export function reportAll(outcomes) {
  notice('');
  const done = outcomes.filter(({ isDone }) => isDone);
  const text = fill(fill(words.succeeded, number(done.length)), number(outcomes.length));
  announce(text);
  const entry = add(text);
  // What failed comes first.
  entry.append(listOf([...outcomes].sort((a, b) => a.isDone - b.isDone)));
  const undo = done.map((one) => one.undo).filter(Boolean).reverse();
  if (undo.length) offerUndo(entry, undo, words.undo_all);
}

/** Undoes the newest action that can be undone. */
export function undoLast() {
  const last = undoable.at(-1);
  if (last) undo(last);
  else announce(words.nothing_to_undo);
}

function add(text) {
  const entry = document.createElement('li');
  const line = document.createElement('span');
  line.textContent = text;
  entry.append(line);
  const list = $('#done ol');
  list.prepend(entry);
  for (const old of [...list.children].slice(MAX_ENTRIES)) {
    const at = undoable.findIndex(({ element }) => element === old);
    if (at >= 0) undoable.splice(at, 1);
    old.remove();
  }
  $('#done').hidden = false;
  return entry;
}

function listOf(outcomes) {
  const list = document.createElement('ul');
  for (const { isDone, text } of outcomes) {
    const item = document.createElement('li');
    item.textContent = text;
    item.classList.toggle('failed', !isDone);
    list.append(item);
  }
  return list;
}

function offerUndo(element, calls, text) {
  const button = document.createElement('button');
  button.className = 'btn';
  button.type = 'button';
  button.textContent = text;
  const action = { element, calls, button };
  button.addEventListener('click', () => undo(action));
  element.append(button);
  undoable.push(action);
}

async function undo(action) {
  const at = undoable.indexOf(action);
  // A second click comes too late.
  if (at < 0) return;
  undoable.splice(at, 1);
  const hadFocus = document.activeElement === action.button;
  action.button.remove();
  const outcomes = [];
  for (const one of action.calls) outcomes.push(await one());
  action.element.append(listOf(outcomes));
  const isDone = outcomes.every((outcome) => outcome.isDone);
  action.element.classList.toggle('undone', isDone);
  if (hadFocus) $('#close-done').focus();
  announce([isDone ? words.undone : '', ...outcomes.map(({ text }) => text)].filter(Boolean).join(' · '));
  await afterwards();
}
