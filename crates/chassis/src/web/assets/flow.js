// The flow page: loads a range, keeps it up to date by the live stream, and gives the charts their
// values. The server has rendered everything else; without this, the tables show the values.

import { openChart, watchTheme } from './chart.js';
import { $, $$, announce, notice, setText } from './dom.js';
import { openStream } from './live.js';
import { exactTime, range, texts } from './measures.js';
import { visible } from './visible.js';
import { clock, fill } from './words.js';

/** Longer than the interval of the samples, which is 1 s, and of the heartbeats, which is 10 s. */
const TIMEOUT = 15_000;
const MAX_DELAY = 10_000;
const LOAD_TIMEOUT = 5_000;
/** The interval at which a range without values by the second is loaded again. */
const RELOAD_INTERVAL = 60_000;
const SPANS = { '15m': 900, '24h': 86_400, '7d': 604_800 };
const MAX_VALUES = 900;

/** The data of the range: times in seconds since 1970, and one array of values for each series. */
const source = {
  times: [],
  step: 1,
  marks: [],
  marksVersion: 0,
  series: new Map(),
  routes: new Map(),
  startedAt: '',
  /** The two ends of the axis. Soon after the start, it begins later, and the rest is not empty. */
  span() {
    const end = source.times.at(-1) ?? Date.now() / 1000;
    const first = source.times[0] ?? end;
    return [Math.max(end - SPANS[range], Math.min(first, end - SPANS[range] / 5)), end];
  },
};
let loadedAt = 0;
let isLoading = false;
/**
 * Whether the data must be loaded again: they could not be loaded, or were requested before the stream
 * opened again, and the service may have restarted since.
 */
let isStale = false;

const charts = $$('[data-chart]').map((section) => openChart(section, source));
const select = $('select.route');

// Loading.

async function load() {
  if (isLoading) return;
  isLoading = true;
  isStale = false;
  try {
    // A service that stops may take the request and never answer it.
    const signal = AbortSignal.timeout(LOAD_TIMEOUT);
    const answer = await fetch(`/flow.json?range=${range}`, { cache: 'no-store', signal });
    if (!answer.ok) throw new Error(`/flow.json: ${answer.status}`);
    take(await answer.json());
    loadedAt = Date.now();
    notice('');
  } catch {
    // The next sample loads again.
    isStale = true;
    notice(texts.unreachable);
  } finally {
    isLoading = false;
  }
}

function take(view) {
  const from = Date.parse(view.times.from) / 1000;
  source.step = view.times.step_seconds;
  source.times = Array.from({ length: view.times.count }, (_, index) => from + index * source.step);
  source.series = new Map(view.series.map(({ id, values }) => [id, values]));
  source.routes = new Map(view.routes.map(({ route, requests, errors }) => [route, [requests, errors]]));
  source.marks = view.marks.map(({ kind, from: start, to }) => ({
    kind,
    from: Date.parse(start) / 1000,
    to: to && Date.parse(to) / 1000,
  }));
  source.marksVersion = view.marks_version;
  showStart(view.replica);
  listMarks();
  listRoutes();
  show();
}

/** Shows since when there are samples. Another start means that the samples have begun again. */
function showStart({ host, address, started_at: startedAt }) {
  if (source.startedAt && source.startedAt !== startedAt) announce(texts.restarted);
  source.startedAt = startedAt;
  const time = $('#since time');
  time.dateTime = startedAt;
  setText(time, exactTime(Date.parse(startedAt)));
  setText($('#replica'), fill(texts.replica, visible(`${host}, ${address}`)));
}

// Showing.

function show() {
  for (const chart of charts) chart.setValues(chart.lines.map((line, index) => valuesOf(chart, line, index)));
}

/** The values of a line: those of one route, if the reader has chosen one. */
function valuesOf(chart, line, index) {
  const route = chart.section.contains(select) && source.routes.get(select.value);
  return route ? route[index] : source.series.get(line.id);
}

function listRoutes() {
  const { value } = select;
  select.hidden = false;
  const routes = ['', ...source.routes.keys()];
  // New options would close a list that the reader has opened.
  if (routes.join('\n') === [...select.options].map((one) => one.value).join('\n')) return;
  const options = routes.map((route) => new Option(route || texts.all_routes, route));
  select.replaceChildren(...options);
  select.value = source.routes.has(value) ? value : '';
}

function listMarks() {
  const rows = source.marks.map(({ kind, from, to }) => {
    const row = document.createElement('li');
    const [text, times] = [document.createElement('span'), document.createElement('span')];
    text.textContent = texts[kind].long;
    times.className = 'quiet';
    times.append(moment(from));
    if (to === null) times.append(` – ${texts.lasts}`);
    else if (to > from) times.append(' – ', moment(to));
    row.append(text, times);
    return row;
  });
  $('#marks').replaceChildren(...rows.reverse());
}

function moment(second) {
  const time = document.createElement('time');
  time.dateTime = new Date(second * 1000).toISOString();
  time.textContent = exactTime(second * 1000);
  return time;
}

// The live stream.

function add(sample) {
  setText($('#flow-live'), '');
  const time = Date.parse(sample.at) / 1000;
  const last = source.times.at(-1);
  const isChanged = isStale || sample.marks !== source.marksVersion;
  if (range !== '15m') {
    if (isChanged || Date.now() - loadedAt >= RELOAD_INTERVAL) load();
    return;
  }
  if (time === last && !isChanged) return;
  // A sample is missing, or the clock of the service was set: the service has all values.
  if (isChanged || time !== last + 1) {
    load();
    return;
  }
  push(time, sample);
  show();
}

/** Adds the values of a second. */
function push(time, { values, routes }) {
  const append = (array, value) => {
    array.push(value);
    if (array.length > MAX_VALUES) array.shift();
  };
  const known = source.times.length;
  append(source.times, time);
  [...source.series.values()].forEach((array, index) => append(array, values[index]));
  for (const [route, newest] of Object.entries(routes)) {
    if (!source.routes.has(route) && newest[0] > 0) {
      const missing = () => new Array(known).fill(null);
      source.routes.set(route, [missing(), missing()]);
      listRoutes();
    }
    source.routes.get(route)?.forEach((array, index) => append(array, newest[index]));
  }
}

for (const time of $$('time[data-moment]')) setText(time, exactTime(Date.parse(time.dateTime)));
select.addEventListener('change', show);
watchTheme(() => charts.forEach((chart) => chart.redraw()));
load();
openStream({
  address: () => '/live?flow',
  timeout: TIMEOUT,
  maxDelay: MAX_DELAY,
  events: { flow: add },
  onBack() {
    isStale = true;
    announce(texts.back);
  },
  onCut(since) {
    setText($('#flow-live'), fill(texts.cut, clock.format(since)));
    // The service may answer and only have no place for another stream.
    load();
  },
});
