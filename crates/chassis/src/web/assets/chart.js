// One chart: the drawing, the values beside its title, the time under the cursor, and its table.

import { $, setText } from './dom.js';
import { range, shown, shownTime, texts, tickTime } from './measures.js';
import { fill } from './words.js';

const HEIGHT = 180;
/** The rows of a table of samples. */
const MAX_ROWS = 30;
/** A record is rejected a little before or after the second that counts it. */
const MARGIN_SECONDS = 5;

const TOKENS = {
  main: '--accent',
  second: '--ink-2',
  good: '--good',
  warn: '--warn',
  bad: '--bad',
  axis: '--ink-3',
  grid: '--line',
  mark: '--ink-2',
};

let palette = readPalette();

/** Reads the colours of the theme. A drawing does not understand the properties themselves. */
function readPalette() {
  const probe = document.createElement('span');
  document.body.append(probe);
  const colours = Object.entries(TOKENS).map(([name, token]) => {
    probe.style.color = `var(${token})`;
    return [name, getComputedStyle(probe).color];
  });
  probe.remove();
  return Object.fromEntries(colours);
}

/** Calls `redraw` when the theme of the system changes. */
export function watchTheme(redraw) {
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => {
    palette = readPalette();
    redraw();
  });
}

/**
 * Prepares the chart of a section. `source` has the times and the marks of the range.
 *
 * Returns `{ section, lines, setValues, redraw }`. A chart outside the window is drawn when it
 * comes into view.
 */
export function openChart(section, source) {
  const { unit, lines } = JSON.parse(section.dataset.chart);
  const plot = $('.plot', section);
  const title = $('h2', section).textContent;
  const newest = lines.map((line) => $(`[data-line="${line.id}"]`, section));
  let values = lines.map(() => []);
  let drawing;
  let isVisible = false;
  let isStale = false;
  /** The index of the time that the keyboard has chosen. */
  let chosen;

  function draw() {
    isStale = !isVisible;
    if (!isVisible || !source.times.length) return;
    drawing ??= makeDrawing();
    drawing.setData([source.times, ...values]);
    if (chosen === undefined) showValues(source.times.length - 1);
  }

  function showValues(index) {
    newest.forEach((element, line) => setText(element, shown(unit, values[line][index])));
  }

  function makeDrawing() {
    const { fontFamily } = getComputedStyle(document.body);
    const axis = {
      stroke: () => palette.axis,
      font: `12px ${fontFamily}`,
      grid: { stroke: () => palette.grid, width: 1 },
      ticks: { show: false },
    };
    const made = new uPlot({
      width: plot.clientWidth,
      height: HEIGHT,
      legend: { show: false },
      cursor: { y: false, drag: { x: false, y: false }, sync: { key: 'flow' } },
      scales: { x: { range: () => source.span() }, y: { range: (_, min, max) => [0, ceiling(unit, max)] } },
      axes: [
        {
          ...axis,
          size: 28,
          space: range === '7d' ? 110 : 80,
          values: (_, times, axisIndex, space, increment) => (
            times.map((time) => tickTime(time, increment))),
        },
        { ...axis, size: 62, space: 36, values: (_, splits) => splits.map((one) => shown(unit, one)) },
      ],
      series: [{}, ...lines.map(({ tone }) => ({
        stroke: () => palette[tone],
        width: 1.5,
        dash: tone === 'second' ? [5, 3] : undefined,
        points: { size: 4 },
      }))],
      hooks: {
        drawClear: [(chart) => drawMarks(chart, source.marks)],
        setCursor: [({ cursor }) => {
          if (chosen === undefined) showValues(cursor.idx ?? source.times.length - 1);
        }],
      },
    }, [source.times, ...values], plot);
    made.over.addEventListener('click', () => showMoment(made.cursor.idx));
    return made;
  }

  /** Shows the link to the records that were rejected at a time. Returns it. */
  function showMoment(index) {
    const place = $('.moment', section);
    if (index === null || index === undefined || !source.times.length) return undefined;
    const link = rejectedLink(source.times[index], source.step);
    link.textContent = fill(
      fill(texts.rejected, shownTime(source.times[index] - MARGIN_SECONDS)),
      shownTime(source.times[index] + source.step + MARGIN_SECONDS),
    );
    place.replaceChildren(link);
    place.hidden = false;
    return link;
  }

  // The keyboard: the chart is a slider over its times.

  Object.assign(plot, { role: 'slider', tabIndex: 0, ariaLabel: `${title}: ${texts.chart}` });
  describe();

  function describe() {
    const last = Math.max(0, source.times.length - 1);
    const index = Math.min(chosen ?? last, last);
    plot.ariaValueMin = '0';
    plot.ariaValueMax = String(last);
    plot.ariaValueNow = String(index);
    const time = source.times.length ? shownTime(source.times[index]) : '';
    const parts = lines.map((line, at) => `${line.text} ${shown(unit, values[at][index])}`);
    plot.ariaValueText = [time, ...parts].join(', ');
  }

  plot.addEventListener('focus', describe);
  plot.addEventListener('blur', () => {
    chosen = undefined;
    drawing?.setCursor({ left: -10, top: -10 });
    showValues(source.times.length - 1);
  });
  plot.addEventListener('keydown', (event) => {
    const last = source.times.length - 1;
    if (last < 0 || event.ctrlKey || event.metaKey || event.altKey) return;
    const now = Math.min(chosen ?? last, last);
    const next = {
      ArrowLeft: now - 1,
      ArrowDown: now - 1,
      ArrowRight: now + 1,
      ArrowUp: now + 1,
      PageDown: now - 60,
      PageUp: now + 60,
      Home: 0,
      End: last,
    }[event.key];
    if (event.key === 'Enter') {
      showMoment(now)?.focus();
    } else if (next === undefined) {
      return;
    } else {
      chosen = Math.max(0, Math.min(last, next));
      drawing?.setCursor({ left: drawing.valToPos(source.times[chosen], 'x'), top: 0 });
      showValues(chosen);
      describe();
    }
    event.preventDefault();
  });

  new IntersectionObserver((entries) => {
    isVisible = entries.at(-1).isIntersecting;
    if (isVisible && isStale) draw();
  }, { rootMargin: '100px' }).observe(plot);
  new ResizeObserver(() => {
    if (drawing) drawing.setSize({ width: plot.clientWidth, height: HEIGHT });
  }).observe(plot);
  $('details', section).addEventListener('toggle', (event) => {
    if (event.target.open) $('.samples', section).replaceChildren(...samples(source, unit, lines, values));
  });

  return {
    section,
    lines,
    setValues(series) {
      values = series;
      draw();
    },
    redraw: () => drawing?.redraw(false),
  };
}

/** The end of the axis: some space above the largest value, and never an empty axis. */
function ceiling(unit, max) {
  if (unit === 'percent') return 100;
  return max > 0 ? max * 1.1 : 1;
}

/** Draws outages as bands and moments as lines, with their names as far as there is room. */
function drawMarks(chart, marks) {
  const { ctx, bbox } = chart;
  const ratio = devicePixelRatio;
  const end = bbox.left + bbox.width;
  const places = marks.map(({ kind, from, to }) => ({
    kind,
    isMoment: from === to,
    left: chart.valToPos(from, 'x', true),
    right: Math.min(end, to === null ? end : chart.valToPos(to, 'x', true)),
  })).filter(({ left, right }) => right >= bbox.left && left <= end);
  ctx.save();
  ctx.fillStyle = palette.mark;
  for (const { isMoment, left, right } of places) {
    const start = Math.max(left, bbox.left);
    ctx.globalAlpha = 0.14;
    if (!isMoment) ctx.fillRect(start, bbox.top, Math.max(right - start, ratio), bbox.height);
    ctx.globalAlpha = 0.6;
    if (left >= bbox.left) ctx.fillRect(left, bbox.top, ratio, bbox.height);
  }
  ctx.globalAlpha = 1;
  ctx.font = `${11 * ratio}px ${getComputedStyle(document.body).fontFamily}`;
  ctx.textAlign = 'left';
  ctx.textBaseline = 'top';
  const taken = [];
  const fits = (from, to) => from >= bbox.left && to <= end
    && taken.every(([start, stop]) => to <= start || from >= stop);
  // Outages are more important than moments.
  for (const { kind, left } of places.sort((one, other) => one.isMoment - other.isMoment)) {
    const { short } = texts[kind];
    const width = ctx.measureText(short).width + 8 * ratio;
    const start = Math.max(left, bbox.left);
    const at = [start, start - width].find((from) => fits(from, from + width));
    if (at === undefined) continue;
    ctx.fillText(short, at + 4 * ratio, bbox.top + 2 * ratio);
    taken.push([at, at + width]);
  }
  ctx.restore();
}

/** A link to the records that were rejected at a time. */
function rejectedLink(time, step) {
  const iso = (second) => new Date(second * 1000).toISOString();
  const query = new URLSearchParams({
    from: iso(time - MARGIN_SECONDS),
    to: iso(time + step + MARGIN_SECONDS),
  });
  const link = document.createElement('a');
  link.href = `/rejected?${query}`;
  return link;
}

/** The newest samples as a table, the newest first. */
function samples(source, unit, lines, values) {
  const note = document.createElement('p');
  note.className = 'quiet small';
  note.textContent = texts.samples;
  const table = document.createElement('table');
  const head = table.createTHead().insertRow();
  [texts.time, ...lines.map((line) => line.text)].forEach((text, column) => {
    const cell = document.createElement('th');
    cell.scope = 'col';
    cell.textContent = text;
    cell.className = column ? 'num' : '';
    head.append(cell);
  });
  const body = table.createTBody();
  const last = source.times.length - 1;
  for (let index = last; index >= 0 && index > last - MAX_ROWS; index -= 1) {
    const row = body.insertRow();
    const link = rejectedLink(source.times[index], source.step);
    link.textContent = shownTime(source.times[index]);
    row.insertCell().append(link);
    values.forEach((one) => {
      const cell = row.insertCell();
      cell.className = 'num';
      cell.textContent = shown(unit, one[index]);
    });
  }
  return [note, table];
}
