// Finds elements, changes their text, and shows messages to the reader.

export const $ = (selector, root = document) => root.querySelector(selector);
export const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];

/** Sets a text only if it differs, so that a selection in it survives. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Announces a text to screen readers. */
export function announce(text) {
  $('#announcement').textContent = text;
}

/** Shows an error above the page; an empty text hides it. */
export function notice(text) {
  const element = $('#notice');
  element.textContent = text;
  element.hidden = !text;
}

/** Makes a document of HTML that the server has sent. */
export function parsePage(html) {
  return new DOMParser().parseFromString(html, 'text/html');
}
