// Loads more rows of a list as the reader scrolls, and keeps those that the reader sees up to date.
// Rows that are not in view cost nothing: they are read again when they come into view.

import { $, $$ } from './dom.js';
import { fetchPage } from './fetch.js';
import { furtherPages, patchRows, removeRepeated } from './patch.js';

/** The further pages that are in view. */
const inView = new Set();
/** The further pages that were loaded and have not been in view yet. */
const unseen = new WeakSet();

const watcher = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    if (target.matches('.more')) {
      if (isIntersecting) load(target);
    } else if (isIntersecting) {
      inView.add(target);
      if (!unseen.delete(target)) refreshPage(target);
    } else {
      inView.delete(target);
    }
  }
}, { scrollMargin: '300px' });

/** Watches the links to further rows. A link that is watched already stays so. */
export function watchMore() {
  for (const more of $$('.more.loaded')) watcher.observe(more);
}

/** Reads the further pages in view again. */
export function refreshPages() {
  for (const page of inView) {
    if (page.isConnected) refreshPage(page);
    else inView.delete(page);
  }
}

/** Puts the rows after the last page in place of the link to them. */
async function load(more) {
  if (more.ariaBusy) return;
  more.ariaBusy = 'true';
  const page = await fetchPage($('a', more).href);
  more.ariaBusy = null;
  const rows = page && $('ol.rows', page);
  if (!rows || !more.isConnected) return;
  const list = more.closest('.part');
  const added = document.importNode(rows, true);
  added.removeAttribute('id');
  added.className = 'rows further';
  more.before(added);
  removeRepeated(list);
  unseen.add(added);
  watcher.observe(added);
  const next = $('.more a', page);
  if (!next) {
    more.remove();
    return;
  }
  $('a', more).href = next.getAttribute('href');
  // If the link is still in view, this reports it again.
  watcher.unobserve(more);
  watcher.observe(more);
}

/**
 * Reads a page again: the rows after the end of the page before, up to its own end. The last page of a
 * list has no end, because rows may be added after it.
 */
async function refreshPage(page) {
  const list = page.closest('.part');
  const before = page.previousElementSibling;
  if (page.ariaBusy || !list || !before?.dataset.end || !page.dataset.end) return;
  page.ariaBusy = 'true';
  const address = new URL('/', location.href);
  const since = new URLSearchParams(location.search).get('since');
  const isLast = !$('.more', list) && furtherPages(list).at(-1) === page;
  const until = isLast ? '' : page.dataset.end;
  const parts = { show: $('ol[id]', list).id, since, after: before.dataset.end, until };
  for (const [name, value] of Object.entries(parts)) {
    if (value) address.searchParams.set(name, value);
  }
  const fresh = await fetchPage(address);
  page.ariaBusy = null;
  const rows = fresh && $('ol.rows', fresh);
  if (!rows || !page.isConnected) return;
  const more = $('.more', fresh);
  // A page with an end still ends there, whichever rows are left.
  if (!isLast && !more) rows.dataset.end = page.dataset.end;
  if (isLast && more) {
    page.after(document.importNode(more, true));
    watchMore();
  }
  // Without a row, the next rows are those after the page before.
  rows.dataset.end ||= before.dataset.end;
  const others = new Set([$('ol[id]', list), ...furtherPages(list)]
    .filter((one) => one !== page)
    .flatMap((one) => [...one.children].map((row) => row.dataset.key)));
  for (const row of [...rows.children]) if (others.has(row.dataset.key)) row.remove();
  const focused = document.activeElement;
  patchRows(page, rows);
  if (!focused.isConnected) $('h2', list.closest('.lane')).focus();
}
