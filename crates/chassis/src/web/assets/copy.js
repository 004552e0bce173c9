// Copies a text when a button is clicked, and shows the result on the button for two seconds.

import { announce } from './dom.js';

const RESULT_MS = 2000;

export async function copy(button, text, { copied, not_copied }) {
  // A second click must not take the result of the first for the label.
  button.dataset.label ??= button.textContent;
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = copied;
  } catch {
    button.textContent = not_copied;
  }
  announce(button.textContent);
  setTimeout(() => { button.textContent = button.dataset.label; }, RESULT_MS);
}
