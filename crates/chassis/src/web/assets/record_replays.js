// The replay of all records of a filter: one bounded call each second, until no record is left or the
// reader stops it. The service keeps nothing about it; this page keeps the place in the list.

import { $, $$ } from './dom.js';
import {
  describe, fill, number, post, refreshTotal, words,
} from './record_calls.js';

const INTERVAL = 1000;
const MAX_RATE = 100;
/** Of the records without a fault, only the latest are shown. */
const MAX_SHOWN = 100;

const RESULTS = ['accepted', 'rejected', 'sent', 'not_sent'];
const TONES = { accepted: 'good', rejected: 'warn', sent: '', not_sent: 'bad' };
const TEXTS = {
  accepted: [words.accepted, words.was_accepted],
  rejected: [words.rejected, words.was_rejected],
  sent: [words.sent, words.was_sent],
  not_sent: [words.not_sent, words.was_not_sent],
};

/** The cursor after the records of this run, and the number of each result. */
let after;
let counts;
let stop;

function begin() {
  counts = { accepted: 0, rejected: 0, sent: 0, not_sent: 0 };
  $('#results').replaceChildren();
}

async function run(form) {
  const rate = Math.min(MAX_RATE, Math.max(1, Math.round($('#rate').valueAsNumber) || 1));
  if (!after) begin();
  const stopped = new Promise((resolve) => { stop = resolve; });
  let isStopped = false;
  stopped.then(() => { isStopped = true; });
  setRunning(true);
  showState('');
  showCounts(form);
  for (;;) {
    const began = performance.now();
    const url = new URL(form.dataset.calls, location);
    url.searchParams.set('limit', rate);
    if (after) url.searchParams.set('after', after);
    const failure = await replay(url);
    showCounts(form);
    if (failure) return end(`${words.interrupted} ${failure}`);
    if (!after) return end(words.done);
    if (isStopped) return end(words.stopped);
    const rest = INTERVAL - (performance.now() - began);
    await Promise.race([stopped, new Promise((resolve) => { setTimeout(resolve, rest); })]);
    if (isStopped) return end(words.stopped);
  }
}

/** Makes one call, and shows its results. Returns the text of a failure. */
async function replay(url) {
  try {
    const answer = await post(url);
    if (!answer.ok) return describe(answer);
    const { results, next } = await answer.json();
    after = next;
    results.forEach(showResult);
    return '';
  } catch {
    return words.unreachable;
  }
}

function end(text) {
  showState(text);
  setRunning(false);
  $('#start').textContent = after ? words.go_on : $('#start').dataset.text;
  refreshTotal();
}

function setRunning(isRunning) {
  const start = $('#start');
  start.dataset.text ??= start.textContent;
  start.disabled = isRunning;
  $('#rate').disabled = isRunning;
  $('#stop').disabled = !isRunning;
  $('#run').hidden = false;
}

function showState(text) {
  $('#run-state').textContent = text;
}

function showCounts(form) {
  const all = RESULTS.reduce((sum, one) => sum + counts[one], 0);
  const known = Number(form.dataset.count);
  const progress = $('#run progress');
  if (known) {
    progress.max = Math.max(known, all);
    progress.value = all;
  } else if (!after) {
    // The number of records was not known before: it is now.
    progress.value = progress.max;
  }
  const total = known ? fill(words.running, number(all), number(known))
    : fill(words.running_unknown, number(all));
  const parts = RESULTS.filter((one) => counts[one])
    .map((one) => chip(`${number(counts[one])} ${TEXTS[one][0]}`, TONES[one]));
  $('#run-counts').replaceChildren(...[chip(total, ''), ...parts].map((one) => item(one)));
}

function showResult({ id, result, rejected_as: rejectedAs, detail }) {
  counts[result] += 1;
  const line = item(recordLink(id), chip(TEXTS[result][1], TONES[result]));
  if (rejectedAs) line.append(recordLink(rejectedAs));
  if (detail) line.append(Object.assign(document.createElement('span'), { textContent: detail }));
  // A record that needs the reader's attention stays in the list.
  if (TONES[result] === 'good') line.dataset.passing = '';
  $('#results').append(line);
  const passing = $$('#results [data-passing]');
  if (passing.length > MAX_SHOWN) passing[0].remove();
}

function recordLink(id) {
  const link = document.createElement('a');
  link.className = 'mono';
  link.href = `/rejected/${encodeURIComponent(id)}`;
  link.textContent = id;
  return link;
}

function chip(text, tone) {
  return Object.assign(document.createElement('span'), {
    className: `chip ${tone}`, textContent: text,
  });
}

function item(...parts) {
  const line = document.createElement('li');
  line.append(...parts);
  return line;
}

addEventListener('click', ({ target }) => {
  if (target.id !== 'stop') return;
  target.disabled = true;
  showState(words.stopping);
  stop();
});

addEventListener('submit', (event) => {
  if (event.target.id !== 'replay-many') return;
  event.preventDefault();
  run(event.target);
});
