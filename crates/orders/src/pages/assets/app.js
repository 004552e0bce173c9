// What a page does beyond what the server has written: the search without a reload, where an
// answer came from, the newest orders live, ages. The server stays the only one that renders:
// pages are fetched from it and their <main> is put in place. Without this file all still works.

const words = JSON.parse(document.querySelector('meta[name="words"]').content);
const lang = document.documentElement.lang;
const NEWEST = 12;
const $ = (selector, root = document) => root.querySelector(selector);

// Words and figures.

const fill = (text, value) => text.replace('{}', () => value);
const plural = new Intl.PluralRules(lang);
const FORMS = { one: 0, few: 1 };
const counted = (forms, n) => fill(forms[FORMS[plural.select(n)] ?? 2], number(n));
const number = (n, digits = 0) => new Intl.NumberFormat(lang, { maximumFractionDigits: digits }).format(n);
const span = (ms) => `${number(ms, ms < 10 ? 1 : 0)}\u00a0${words.ms}`;
const source = (name) => words[name] ?? name;

function age(since) {
  const seconds = Math.max(0, Math.floor((Date.now() - since) / 1000));
  const steps = [[60, 1, 0], [3600, 60, 1], [86400, 3600, 2], [Infinity, 86400, 3]];
  const [, divisor, unit] = steps.find(([end]) => seconds < end);
  return `${number(Math.floor(seconds / divisor))}\u00a0${words.units[unit]}`;
}

const localTime = new Intl.DateTimeFormat(lang, { dateStyle: 'medium', timeStyle: 'long', hourCycle: 'h23' });
const clock = new Intl.DateTimeFormat(lang, { timeStyle: 'medium', hourCycle: 'h23' });

/** Texts grow old by themselves; only those that changed are touched. */
function refreshTimes() {
  for (const time of document.querySelectorAll('time[datetime]')) {
    const at = Date.parse(time.dateTime);
    if (Number.isNaN(at)) continue;
    if (!time.title) time.title = localTime.format(at);
    if ('age' in time.dataset) setText(time, age(at));
  }
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

// Going from page to page.

const isOrderPage = (url) => url.pathname === '/' || url.pathname.startsWith('/order/');
const orderPath = (uid) => `/order/${encodeURIComponent(uid)}`;
let fetching;

/** Puts the page at `url` in the place of this one's. */
async function show(url, { push = true, keepFocus = false } = {}) {
  fetching?.abort();
  const mine = fetching = new AbortController();
  const began = performance.now();
  const waits = url.searchParams.has('wait');
  notice('');
  say(waits ? words.waiting : words.loading);
  $('main').setAttribute('aria-busy', 'true');
  try {
    const answer = await fetch(url, { headers: { accept: 'text/html' }, signal: mine.signal });
    const html = await answer.text();
    const took = performance.now() - began;
    const page = new DOMParser().parseFromString(html, 'text/html');
    const main = $('main', page);
    if (!main) throw new TypeError('not a page of ours');
    $('main').replaceWith(main);
    $('.seg').replaceWith($('.seg', page));
    document.title = page.title;
    url.searchParams.delete('wait');
    if (push && url.href !== location.href) history.pushState(null, '', url);
    enhance();
    if (main.dataset.uid) listen();
    if (answer.ok && main.dataset.uid) seen(main.dataset.uid, came(answer), waits ? undefined : took);
    arrive(keepFocus);
  } catch (error) {
    if (error.name === 'AbortError') return;
    notice(words.unreachable);
    say('');
    const wait = $('[data-wait][aria-disabled]');
    if (wait) {
      wait.ariaDisabled = null;
      wait.classList.remove('busy');
      wait.textContent = wait.dataset.wait;
    }
  } finally {
    if (fetching === mine) $('main').removeAttribute('aria-busy');
  }
}

/** The reader is now here: tell where, and put the focus there. */
function arrive(keepFocus) {
  const title = $('h1');
  say(title?.textContent ?? document.title);
  if (keepFocus || !title) return;
  title.tabIndex = -1;
  title.focus({ preventScroll: true });
  scrollTo(0, 0);
}

addEventListener('submit', (event) => {
  const form = event.target;
  if (form.matches('.find')) {
    event.preventDefault();
    const uid = form.elements.uid.value.trim();
    if (uid) show(new URL(orderPath(uid), location.href));
  } else if ('tell' in form.dataset) {
    event.preventDefault();
    tell(form);
  } else if (form.method === 'post') {
    event.preventDefault();
    replay(form);
  }
});

addEventListener('click', (event) => {
  const link = event.target.closest?.('a[href]');
  if (!link || event.button || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  const url = new URL(link.href);
  if ('plain' in link.dataset || url.origin !== location.origin || url.searchParams.has('lang')) return;
  if (url.hash && url.pathname === location.pathname) return;
  if (!isOrderPage(url) || !isOrderPage(location)) return;
  event.preventDefault();
  if ('wait' in link.dataset) {
    if (link.ariaDisabled === 'true') return;
    link.ariaDisabled = 'true';
    link.classList.add('busy');
    link.dataset.wait = link.textContent;
    link.textContent = words.waiting;
  }
  show(url);
});

addEventListener('popstate', () => {
  if (!location.hash) show(new URL(location.href), { push: false });
});

addEventListener('keydown', (event) => {
  const input = $('.find input');
  if (!input || event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === '/' && !event.target.closest('input, textarea, select')) {
    event.preventDefault();
    input.focus();
    input.select();
  } else if (event.key === 'Escape' && (event.target === input || !event.target.closest('input, textarea, select'))) {
    input.value = '';
    input.focus();
  }
});

// Where an answer came from, and what the second look gains.

function came(answer) {
  const timing = answer.headers.get('server-timing') ?? '';
  const dur = /(?:^|,)\s*cache[^,]*;\s*dur=([\d.]+)/.exec(timing);
  return { from: answer.headers.get('x-cache') ?? '', server: dur ? Number(dur[1]) : undefined };
}

function cameWithDocument() {
  const entry = performance.getEntriesByType('navigation')[0];
  const cache = entry?.serverTiming?.find((one) => one.name === 'cache');
  if (!cache) return;
  return { answer: { from: cache.description, server: cache.duration }, took: entry.responseEnd - entry.requestStart };
}

function seen(uid, { from }, took) {
  const chips = $('#seen');
  if (!chips || took === undefined) return;
  const chip = (text) => {
    const element = document.createElement('span');
    element.className = 'chip';
    element.textContent = text;
    chips.append(element);
  };
  chip(fill(words.here, span(took)));
  const key = `seen:${uid}`;
  try {
    const first = sessionStorage.getItem(key);
    if (first) chip(fill(words.first_look, first));
    else sessionStorage.setItem(key, `${source(from)} · ${span(took)}`);
  } catch { /* Storage is refused in some private windows; the chip is a nicety. */ }
}

// What a new <main> needs.

function enhance() {
  for (const element of document.querySelectorAll('#copy-link, .keys, #correct, #courier')) element.hidden = false;
  refreshTimes();
  renewUntilTold();
}

addEventListener('click', async (event) => {
  const button = event.target.closest?.('#copy-link');
  if (!button) return;
  const label = button.textContent;
  try {
    await navigator.clipboard.writeText(location.origin + location.pathname);
    button.textContent = words.copied;
  } catch {
    button.textContent = words.not_copied;
  }
  say(button.textContent);
  setTimeout(() => { button.textContent = label; }, 2000);
});

addEventListener('change', (event) => {
  if (event.target.matches('.filter select')) event.target.form.requestSubmit();
});

/** Sends a rejected record again: as it was, or as the text beside it says. */
async function replay(form) {
  const button = $('button', form);
  const text = $('textarea', form);
  button.disabled = true;
  notice('');
  say(words.sending);
  try {
    const answer = await fetch(form.action, {
      method: 'POST',
      headers: { accept: 'application/json', ...(text && { 'content-type': 'application/json' }) },
      body: text ? text.value : undefined,
    });
    if (answer.ok) {
      await show(new URL(location.href), { push: false, keepFocus: true });
      say(words.replayed);
    } else {
      const problem = await answer.json().catch(() => ({}));
      const rules = (problem.errors ?? []).map((one) => `${one.pointer} ${one.message}`.trim());
      const text = answer.status === 503 ? words.not_sent : problem.detail ?? words.unreachable;
      notice([text, ...rules].join(' · '));
    }
  } catch {
    notice(words.unreachable);
  }
  button.disabled = false;
}

// The life of the order on this page.

/** Tells that the order is cancelled or completed; the page shows it once it has come round. */
async function tell(form) {
  const buttons = document.querySelectorAll('#tell button');
  for (const button of buttons) button.disabled = true;
  notice('');
  say(words.sending);
  try {
    const answer = await fetch(form.action, { method: 'POST', headers: { accept: 'application/json' } });
    if (answer.ok) {
      const before = $('#status')?.textContent;
      if (await renew(() => $('#status')?.textContent !== before) === false) notice(words.not_back);
    } else {
      const problem = await answer.json().catch(() => ({}));
      notice(answer.status === 503 ? words.not_sent : problem.detail ?? words.unreachable);
      await renew(() => true);
    }
  } catch {
    notice(words.unreachable);
  }
  for (const button of buttons) button.disabled = false;
}

const pause = (ms) => new Promise((resolve) => { setTimeout(resolve, ms); });
const PAUSES = [0, 50, 100, 200, 400, 800, 1600];
let renewals = 0;
let renewed = 0;

/**
 * Brings status, life and buttons up to what the server has, until `done`; it may need a moment.
 * True if it was done, false if not, undefined if a later call has taken over.
 */
async function renew(done) {
  const mine = renewals += 1;
  renewed = Date.now();
  const { uid } = $('main').dataset;
  for (const ms of PAUSES) {
    await pause(ms);
    const answer = await fetch(orderPath(uid), { headers: { accept: 'text/html' } });
    const page = new DOMParser().parseFromString(await answer.text(), 'text/html');
    if ($('main').dataset.uid !== uid || mine !== renewals || !answer.ok) return;
    for (const id of ['status', 'life', 'tell']) {
      const [old, fresh] = [$(`#${id}`), $(`#${id}`, page)];
      if (!old || !fresh || old.innerHTML === fresh.innerHTML) continue;
      const held = old.contains(document.activeElement);
      old.replaceWith(fresh);
      if (id === 'status') say(fill(words.status_now, fresh.textContent));
      if (held) ($('button', fresh) ?? $('h1')).focus();
    }
    refreshTimes();
    if (done()) {
      askCourier();
      return true;
    }
  }
  askCourier();
  return false;
}

/** A page that was sent while the database was slow knows no status: asks until it is told. */
async function renewUntilTold() {
  const { uid } = $('main').dataset;
  while ($('main').dataset.uid === uid && $('#status')?.hidden) {
    try {
      await renew(() => !$('#status').hidden);
    } catch { /* The stream will be found cut as well, and says so. */ }
    await pause(2_000);
  }
}

/** What is told is recorded soon; later if the database is slow, and further down than is shown if much was told. */
async function onStatus(told) {
  const isHere = () => $('main').dataset.uid === told.order_uid;
  const recorded = `[data-record="${told.partition}/${told.offset}"], #more-events`;
  try {
    for (let tries = 0; tries < 10 && isHere(); tries += 1) {
      if (await renew(() => $(recorded)) !== false) return;
      await pause(2_000);
    }
  } catch { /* The stream will be found cut as well, and says so. */ }
}

// Who delivers it: asked of the courier service, whose silence is no failure of this page.

let asking;

async function askCourier() {
  const section = $('#courier');
  clearTimeout(asking);
  if (!section) return;
  let again = 10_000;
  try {
    const answer = await fetch(section.dataset.delivery, { headers: { accept: 'application/json' } });
    if (answer.status === 404) setText($('p', section), words.unknown_delivery);
    else if (!answer.ok) throw new Error(`delivery: ${answer.status}`);
    else if (showCourier(section, await answer.json())) again = 2_000;
    // What has just happened to the order takes a moment to reach the courier service.
    if (Date.now() - renewed < 5_000) again = 500;
  } catch {
    setText($('p', section), words.couriers_silent);
  }
  if (!document.hidden) asking = setTimeout(askCourier, again);
}

/** Shows a delivery; true while it is about to change. */
function showCourier(section, { state, why_not_assigned: why, position, assignment }) {
  const at = (time) => new Intl.DateTimeFormat(lang, { timeStyle: 'short', hourCycle: 'h23' }).format(Date.parse(time));
  const parts = [];
  if (assignment) {
    if (assignment.courier_name) parts.push(assignment.courier_name);
    parts.push(words[assignment.transport_type] ?? assignment.transport_type);
    if (assignment.completed_at) parts.push(fill(words.delivered, at(assignment.completed_at)));
    else parts.push(fill(state === 'overdue' ? words.late : words.until, at(assignment.deadline)));
  } else if (why) {
    parts.push(words[why.code] ?? why.message);
    if (position) parts.push(fill(words.place, number(position)));
  }
  setText($('p', section), parts.join(', ') || words.no_delivery);
  section.classList.toggle('late', state === 'overdue');
  return state === 'waiting' || state === 'expected';
}

// Live: one stream of server-sent events, read by hand so that it can be resumed after any failure.

let stream;
let lastEvent = $('meta[name="live"]')?.content ?? ''; // What came since the server wrote this page comes now.
let cutSince;
let failures = 0;
let waiting;

async function listen() {
  stream?.abort();
  clearTimeout(waiting);
  const mine = stream = new AbortController();
  try {
    const headers = { accept: 'text/event-stream', ...(lastEvent && { 'last-event-id': lastEvent }) };
    const { uid } = $('main').dataset;
    const answer = await fetch(uid ? `/live?order_uid=${encodeURIComponent(uid)}` : '/live', { headers, signal: mine.signal, cache: 'no-store' });
    if (!answer.ok) throw new Error(`live: ${answer.status}`);
    if (cutSince) {
      cutSince = undefined;
      say(words.back);
      $('#rates').hidden = true;
    }
    // What was told between the page and the stream is in neither.
    if (uid) renew(() => true).catch(() => { /* The stream tells of the next. */ });
    await read(answer.body, mine);
    throw new Error('live: ended');
  } catch {
    if (stream !== mine || document.hidden) return;
    failures += 1;
    if (!cutSince) cutSince = Date.now();
    showCut();
    const wait = Math.min(30_000, 500 * 2 ** failures);
    waiting = setTimeout(listen, wait / 2 + Math.random() * wait / 2);
  }
}

/** Reads to the end of the stream. Silence for longer than any heartbeat is an end, too. */
async function read(body, mine) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  let alarm;
  try {
    for (;;) {
      clearTimeout(alarm);
      alarm = setTimeout(() => reader.cancel(), 45_000);
      const { value, done } = await reader.read();
      if (done || mine.signal.aborted) return;
      const parts = (rest + value).split(/\r?\n\r?\n/);
      rest = parts.pop();
      parts.forEach(take);
    }
  } finally {
    clearTimeout(alarm);
  }
}

function take(block) {
  let name = 'message';
  const data = [];
  for (const line of block.split(/\r?\n/)) {
    const [, field, value] = /^([^:]*)(?:: ?(.*))?$/s.exec(line);
    if (field === 'event') name = value;
    else if (field === 'data') data.push(value ?? '');
    else if (field === 'id') lastEvent = value ?? '';
  }
  if (!data.length && name !== 'reset') return;
  failures = 0;
  const event = data.length ? JSON.parse(data.join('\n')) : undefined;
  ({ order: onOrder, status: onStatus, rejection: onRejection, rates: onRates, reset: onReset })[name]?.(event);
}

const arrived = new Map();
let newRejected = 0;

function onOrder(order) {
  arrived.delete(order.order_uid);
  arrived.set(order.order_uid, order);
  if (arrived.size > NEWEST) arrived.delete(arrived.keys().next().value);
  const main = $('main');
  if (main.dataset.uid === order.order_uid && order.version > Number(main.dataset.version)) {
    main.dataset.version = order.version;
    let link = $('#new-version');
    if (!link) {
      link = document.createElement('a');
      link.id = 'new-version';
      link.className = 'chip accent';
      link.href = orderPath(order.order_uid);
      $('#seen').append(link);
    }
    link.textContent = fill(words.new_version, number(order.version));
    say(link.textContent);
  }
}

/** Hundreds may come a second: they are shown together, and not under the reader's hand. */
function flush() {
  const list = $('#newest');
  if (!list || !arrived.size || list.matches(':hover, :focus-within')) return;
  const rows = new Map([...list.children].map((row) => [row.dataset.uid, row]));
  for (const order of arrived.values()) {
    rows.get(order.order_uid)?.remove();
    const row = $('#newest-row').content.firstElementChild.cloneNode(true);
    const link = $('a', row);
    row.dataset.uid = order.order_uid;
    link.textContent = order.order_uid;
    link.href = orderPath(order.order_uid);
    $('time', row).dateTime = order.at;
    list.prepend(row);
  }
  arrived.clear();
  while (list.children.length > NEWEST) list.lastElementChild.remove();
  $('#no-orders').hidden = true;
  refreshTimes();
}

function onRejection() {
  newRejected += 1;
  const total = $('#rejected-total');
  if (total.dataset.count) { // What the server counted, and one more.
    total.dataset.count = Number(total.dataset.count) + 1;
    setText(total, ` ${number(total.dataset.count)}`);
  }
  const link = $('#new-rejected');
  if (!link) return;
  link.textContent = counted(words.new_rejected, newRejected);
  link.hidden = false;
}

function onRates(rates) {
  const element = $('#rates');
  const parts = [counted(words.rate, Math.round(rates.orders_per_second))];
  if (typeof rates.lag_seconds === 'number') {
    parts.push(fill(words.lag, `${number(rates.lag_seconds, 1)}\u00a0${words.units[0]}`));
  }
  element.classList.remove('cut');
  setText(element.lastElementChild, parts.join(' · '));
  element.hidden = false;
}

/** Too much was missed to be told one by one: the list as the server has it. */
async function onReset() {
  arrived.clear();
  try {
    const answer = await fetch('/', { headers: { accept: 'text/html' } });
    const page = new DOMParser().parseFromString(await answer.text(), 'text/html');
    const fresh = $('#newest', page);
    if (answer.ok && fresh) $('#newest')?.replaceWith(fresh);
    if (answer.ok) $('#rejected-total').replaceWith($('#rejected-total', page));
    refreshTimes();
  } catch { /* The stream will be found cut as well, and says so. */ }
}

function showCut() {
  const element = $('#rates');
  const text = fill(words.cut, clock.format(cutSince));
  if (!element.classList.contains('cut')) say(text);
  element.classList.add('cut');
  setText(element.lastElementChild, text);
  element.hidden = false;
}

// Browsers allow few streams a server: a page that nobody sees gives its own back.
document.addEventListener('visibilitychange', () => {
  if (!document.hidden) return void listen();
  clearTimeout(waiting);
  stream?.abort();
});
addEventListener('pagehide', () => stream?.abort());
addEventListener('pageshow', (event) => { if (event.persisted) listen(); });

// Begin.

const here = new URL(location.href);
if (here.searchParams.has('lang')) {
  here.searchParams.delete('lang'); // The cookie knows it now.
  history.replaceState(null, '', here);
}
enhance();
if ($('main').dataset.uid) {
  const document_ = cameWithDocument();
  if (document_) seen($('main').dataset.uid, document_.answer, document_.took);
}
if (location.pathname === '/') $('.find input')?.focus({ preventScroll: true });
setInterval(refreshTimes, 1000);
setInterval(flush, 500);
if (!document.hidden) listen();
