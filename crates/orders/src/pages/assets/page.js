// Goes from page to page without a reload. The server stays the only one that renders: its page is
// fetched, and its <main> replaces the one that is shown.

import { showFetchTime } from './answer.js';
import { $, $$, announce, notice, parsePage } from './dom.js';
import { connect } from './feed.js';
import { refreshUntilKnown } from './status.js';
import { refreshTimes } from './times.js';
import { words } from './words.js';

/** The request for a page, which a later one aborts. */
let request;

/** Shows the page at `url`. */
export async function show(url, { push = true, keepFocus = false } = {}) {
  request?.abort();
  const mine = new AbortController();
  request = mine;
  const began = performance.now();
  const waits = url.searchParams.has('wait');
  notice('');
  announce(waits ? words.waiting : words.loading);
  $('main').setAttribute('aria-busy', 'true');
  try {
    const answer = await fetch(url, { headers: { accept: 'text/html' }, signal: mine.signal });
    const page = parsePage(await answer.text());
    const took = performance.now() - began;
    replace(page);
    url.searchParams.delete('wait');
    if (push && url.href !== location.href) history.pushState(null, '', url);
    prepare();
    if ($('main').dataset.uid) {
      connect();
      // The time of an answer that has waited for its order says nothing.
      if (answer.ok && !waits) showFetchTime(answer, took);
    }
    arrive(keepFocus);
  } catch (error) {
    if (error.name === 'AbortError') return;
    notice(words.unreachable);
    announce('');
    endWait();
  } finally {
    if (request === mine) $('main').removeAttribute('aria-busy');
  }
}

function replace(page) {
  const main = $('main', page);
  if (!main) throw new TypeError('the answer is not a page of this service');
  $('main').replaceWith(main);
  $('.languages').replaceWith($('.languages', page));
  document.title = page.title;
}

/** Makes a new <main> ready: shows what needs scripts, and starts its updates. */
export function prepare() {
  const scripted = '#copy-link, .keys, #courier[data-delivery], #courier-answer';
  for (const element of $$(scripted)) element.hidden = false;
  refreshTimes();
  refreshUntilKnown();
}

/** Announces the page and moves the focus to its title. */
function arrive(keepFocus) {
  const title = $('h1');
  announce(title?.textContent ?? document.title);
  if (keepFocus || !title) return;
  title.tabIndex = -1;
  title.focus({ preventScroll: true });
  scrollTo(0, 0);
}

// Links.

/** The pages that can replace each other. The others have styles or scripts of their own. */
const isOrderPage = ({ pathname }) => pathname === '/' || pathname.startsWith('/order/');

/** True if the click is meant to open the link here, not in another tab. */
const isPlainClick = (event) => !(event.button || event.metaKey || event.ctrlKey || event.shiftKey
  || event.altKey);

/** True if a click on the link shows the page without a reload. */
function isShownHere(link, url) {
  if ('plain' in link.dataset || url.origin !== location.origin) return false;
  // The server sets a cookie for a choice of language.
  if (url.searchParams.has('lang')) return false;
  if (url.hash && url.pathname === location.pathname) return false;
  return isOrderPage(url) && isOrderPage(location);
}

/** Marks a link that waits for an order. Returns false if it is already waiting. */
function beginWait(link) {
  if (link.ariaDisabled === 'true') return false;
  link.ariaDisabled = 'true';
  link.classList.add('busy');
  link.dataset.wait = link.textContent;
  link.textContent = words.waiting;
  return true;
}

function endWait() {
  const link = $('[data-wait][aria-disabled]');
  if (!link) return;
  link.ariaDisabled = null;
  link.classList.remove('busy');
  link.textContent = link.dataset.wait;
}

addEventListener('click', (event) => {
  const link = event.target.closest?.('a[href]');
  if (!link || !isPlainClick(event)) return;
  const url = new URL(link.href);
  if (!isShownHere(link, url)) return;
  event.preventDefault();
  if ('wait' in link.dataset && !beginWait(link)) return;
  show(url);
});

addEventListener('popstate', () => {
  if (!location.hash) show(new URL(location.href), { push: false });
});
