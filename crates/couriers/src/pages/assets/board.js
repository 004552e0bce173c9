// The board, live: whenever the service says that something has happened, the page is fetched anew
// and what has changed of it is put in place. The server stays the only one that renders.

const words = JSON.parse(document.querySelector('meta[name="words"]').content);
const lang = document.documentElement.lang;
const $ = (selector, root = document) => root.querySelector(selector);
const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];
const isBoard = Boolean($('.board-page'));

const number = (n) => new Intl.NumberFormat(lang, { maximumFractionDigits: 0 }).format(n);
const clock = new Intl.DateTimeFormat(lang, { timeStyle: 'medium', hourCycle: 'h23' });
const shortClock = new Intl.DateTimeFormat(lang, { timeStyle: 'short', hourCycle: 'h23' });
const fill = (text, value) => text.replace('{}', () => value);

/** How far this browser's clock is ahead of the service's, ms. */
let ahead = 0;
const now = () => Date.now() - ahead;

function span(ms) {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  const steps = [[60, 1, 0], [3600, 60, 1], [86400, 3600, 2], [Infinity, 86400, 3]];
  const [, divisor, unit] = steps.find(([end]) => seconds < end);
  return `${number(Math.floor(seconds / divisor))}\u00a0${words.units[unit]}`;
}

function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function say(text) { $('#say').textContent = text; }

function notice(text) {
  const element = $('#notice');
  element.textContent = text;
  element.hidden = !text;
}

/** Ages, deadlines and what is left of them, by the service's clock. */
function refreshTimes() {
  for (const time of $$('time[data-age]')) setText(time, span(now() - Date.parse(time.dateTime)));
  for (const time of $$('time[data-until]')) {
    const deadline = Date.parse(time.dateTime);
    const late = now() - deadline;
    setText(time, late > 0 ? fill(words.late, span(late)) : fill(words.until, shortClock.format(deadline)));
    time.closest('.card').classList.toggle('late', late > 0);
  }
  for (const meter of $$('meter[data-to]')) {
    const [from, to] = [Date.parse(meter.dataset.from), Date.parse(meter.dataset.to)];
    meter.value = Math.max(0, Math.min(1, (to - now()) / (to - from)));
  }
}

// What has changed of the page, put in place: an element that is still there stays the same one, so
// who has the focus in a card, or is just clicking it, does not lose it.

function patch(fresh) {
  const held = document.activeElement;
  const lane = held?.closest('.lane');
  for (const id of ['waiting', 'road', 'idle']) patchList($(`#${id}`), $(`#${id}`, fresh));
  for (const lines of ['.figures', ...[1, 2, 3].map((place) => `.lane:nth-child(${place})`)]) {
    patchLines($(lines), $(lines, fresh));
  }
  ahead = Date.now() - Date.parse($('main', fresh).dataset.at);
  refreshTimes();
  if (!lane || document.activeElement === held) return;
  // What had the focus is gone, or was moved. A neighbour must not get it: the next key press
  // would do there what was meant here.
  if (held.isConnected) held.focus();
  else $('h2', lane).focus();
}

function patchList(list, fresh) {
  const cards = [...fresh.children];
  const keys = new Set(cards.map((card) => card.dataset.key));
  for (const card of [...list.children]) if (!keys.has(card.dataset.key)) card.remove();
  const known = new Map([...list.children].map((card) => [card.dataset.key, card]));
  let place = list.firstElementChild;
  for (const card of cards) {
    const kept = known.get(card.dataset.key) ?? document.importNode(card, true);
    if (!known.has(card.dataset.key)) kept.classList.add('new');
    else if (kept.classList.contains('new')) card.classList.add('new');
    morph(kept, card);
    if (kept === place) place = place.nextElementSibling;
    else list.insertBefore(kept, place);
  }
}

/** The lines beside the cards: titles with counts, figures, remarks. */
function patchLines(lane, fresh) {
  const lines = (root) => [...root.children].filter((line) => line.dataset.key);
  const old = new Map(lines(lane).map((line) => [line.dataset.key, line]));
  for (const line of lines(fresh)) {
    const known = old.get(line.dataset.key);
    old.delete(line.dataset.key);
    if (known) morph(known, line);
    else lane.append(document.importNode(line, true));
  }
  for (const gone of old.values()) gone.remove();
}

/** Makes an element what another is; only what differs is touched. */
function morph(old, fresh) {
  for (const { name, value } of fresh.attributes) {
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  for (const { name } of [...old.attributes]) {
    if (!fresh.hasAttribute(name) && name !== 'aria-disabled' && name !== 'class') old.removeAttribute(name);
  }
  const [before, after] = [[...old.childNodes], [...fresh.childNodes]];
  if (before.length !== after.length || before.some((node, i) => node.nodeName !== after[i].nodeName)) {
    old.replaceChildren(...after.map((node) => document.importNode(node, true)));
    return;
  }
  before.forEach((node, i) => {
    if (node.nodeType === Node.ELEMENT_NODE) morph(node, after[i]);
    else if (node.data !== after[i].data) node.data = after[i].data;
  });
}

let fetching = false;
let again;

/** Fetches the page anew: the board of the figures that were just told, which all watchers share, or
    without `at` a fresh one. */
async function refresh(at = '') {
  const address = at && `?at=${encodeURIComponent(at)}`;
  if (fetching) {
    again = at;
    return;
  }
  fetching = true;
  try {
    const answer = await fetch(`/${address}`, { headers: { accept: 'text/html' }, cache: 'no-store' });
    const page = new DOMParser().parseFromString(await answer.text(), 'text/html');
    if (answer.ok && $('.board-page', page)) patch(page);
  } catch { /* The stream is found cut as well, and says so. */ }
  fetching = false;
  if (again !== undefined) {
    const at = again;
    again = undefined;
    refresh(at);
  }
}

// Hands.

async function call(method, path, body, done) {
  notice('');
  try {
    const answer = await fetch(path, {
      method,
      headers: { accept: 'application/json', 'content-type': 'application/json' },
      body: JSON.stringify(body),
    });
    if (answer.ok) {
      say(done);
      await refresh();
      return true;
    }
    const problem = await answer.json().catch(() => ({}));
    const known = words.problems[(problem.type ?? '').replace('/docs#', '')];
    const rules = (problem.errors ?? []).map((one) => words.fields[one.pointer.slice(1)] ?? one.message);
    notice(known ?? (rules.join(' · ') || problem.detail || words.unreachable));
  } catch {
    notice(words.unreachable);
  }
  return false;
}

addEventListener('click', async (event) => {
  const button = event.target.closest?.('button[data-assign], button[data-unassign], button[data-courier]');
  if (!button || button.ariaDisabled) return;
  // A button that is disabled altogether would lose the focus.
  button.ariaDisabled = 'true';
  const { assign, unassign, courier, status } = button.dataset;
  if (assign) await call('POST', '/delivery/assign', { order_id: assign }, words.assigned);
  else if (unassign) await call('POST', '/delivery/unassign', { order_id: unassign }, words.unassigned);
  else await call('PUT', '/courier', { id: Number(courier), status }, words.changed);
  button.ariaDisabled = null;
});

addEventListener('submit', async (event) => {
  event.preventDefault();
  const form = event.target;
  const fields = Object.fromEntries([...new FormData(form)].map(([name, value]) => [name, value.trim()]));
  const is_added = form.id === 'add-form';
  const done = is_added
    ? await call('POST', '/courier', fields, words.added)
    : await call('POST', '/delivery/assign', fields, words.assigned);
  if (done) {
    form.reset();
    form.closest('details').open = false;
  }
});

// Live.

let stream;
let heardAt = Date.now();
let cutSince;
let silence;

/** Silence is not calm: the stream may be cut, or the database away, without an error here. */
function wait() {
  clearTimeout(silence);
  silence = setTimeout(() => {
    cut();
    listen();
  }, 5_000);
}

function listen() {
  stream?.close();
  wait();
  stream = new EventSource('/live');
  stream.addEventListener('board', (event) => {
    heard();
    refresh(JSON.parse(event.data).at);
  });
  stream.addEventListener('error', () => {
    cut();
    // After a refusal a browser gives up by itself.
    if (stream.readyState === EventSource.CLOSED) setTimeout(() => document.hidden || listen(), 2000);
  });
}

/** The service tells its figures every second. */
function heard() {
  heardAt = Date.now();
  wait();
  const live = $('#feed');
  if (cutSince) say(words.back);
  cutSince = undefined;
  live.classList.remove('cut');
  setText(live.lastElementChild, words.live);
  live.hidden = false;
}

function cut() {
  const live = $('#feed');
  if (!cutSince) {
    cutSince = heardAt;
    say(fill(words.cut, clock.format(cutSince)));
  }
  live.classList.add('cut');
  setText(live.lastElementChild, fill(words.cut, clock.format(cutSince)));
  live.hidden = false;
}

// Browsers allow few streams a server: a page that nobody sees gives its own back.
document.addEventListener('visibilitychange', () => {
  if (!isBoard) return;
  if (!document.hidden) return listen();
  clearTimeout(silence);
  stream?.close();
});

// Begin.

const here = new URL(location.href);
if (here.searchParams.has('lang')) {
  here.searchParams.delete('lang'); // The cookie knows it now.
  history.replaceState(null, '', here);
}
if (isBoard) {
  $('main').classList.add('hands');
  for (const element of $$('#assign, #add')) element.hidden = false;
  ahead = Date.now() - Date.parse($('main').dataset.at);
  refreshTimes();
  setInterval(refreshTimes, 1000);
  if (!document.hidden) listen();
}
