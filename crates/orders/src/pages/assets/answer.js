// The line below an order: how long the answer took on its way here, the time of the first view,
// and a link to a newer version. The server has written its own part of the line.

import { $, announce } from './dom.js';
import { orderPath } from './paths.js';
import { fill, number, words } from './words.js';

const milliseconds = (ms) => `${number(ms, ms < 10 ? 1 : 0)}\u00a0${words.ms}`;

/** Shows the time of an order page that `fetch` has loaded. */
export function showFetchTime(answer, took) {
  showTime(answer.headers.get('x-cache') ?? '', took);
}

/** Shows the time of an order page that the browser has loaded as a document. */
export function showDocumentTime() {
  const [entry] = performance.getEntriesByType('navigation');
  const cache = entry?.serverTiming?.find((timing) => timing.name === 'cache');
  if (cache) showTime(cache.description, entry.responseEnd - entry.requestStart);
}

function showTime(cache, took) {
  const { uid } = $('main').dataset;
  const chips = $('#answer');
  if (!uid || !chips) return;
  const addChip = (text) => {
    const chip = document.createElement('span');
    chip.className = 'chip';
    chip.textContent = text;
    chips.append(chip);
  };
  addChip(fill(words.here, milliseconds(took)));
  const key = `seen:${uid}`;
  try {
    const first = sessionStorage.getItem(key);
    if (first) addChip(fill(words.first_look, first));
    else sessionStorage.setItem(key, `${words[cache] ?? cache} · ${milliseconds(took)}`);
  } catch { /* Some private windows refuse storage. The page works without the first time. */ }
}

/** Offers a newer version, if `order` is the order of this page. */
export function offerVersion(order) {
  const main = $('main');
  const isNewer = main.dataset.uid === order.order_uid
    && order.version > Number(main.dataset.version);
  if (!isNewer) return;
  main.dataset.version = order.version;
  let link = $('#new-version');
  if (!link) {
    link = document.createElement('a');
    link.id = 'new-version';
    link.className = 'chip accent';
    link.href = orderPath(order.order_uid);
    $('#answer').append(link);
  }
  link.textContent = fill(words.new_version, number(order.version));
  announce(link.textContent);
}
