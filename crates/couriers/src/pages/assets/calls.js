// The calls that change deliveries and couriers. Each returns an outcome: `{ isDone, text, undo }`.
// `text` says what was done or why it was not, and `undo` makes the call that takes it back.

import { $ } from './dom.js';
import { visible } from './visible.js';
import { fill, words } from './words.js';

/** The states of an order that a courier carries. */
const CARRIED = ['assigned', 'overdue'];

/** The order or the courier of an element, as its row shows it. */
export function subjectOf(element) {
  const row = element.closest('[data-order], [data-courier]');
  const { order, courier, state, of } = row.dataset;
  return {
    order, courier: Number(courier), state, former: Number(of), name: $('.name', row).textContent.trim(),
  };
}

/** Makes a call. Returns the answer as `answer`, or as `problem` the text of the problem. */
async function call(method, path, body) {
  try {
    const answer = await fetch(path, {
      method,
      headers: { accept: 'application/json', 'content-type': 'application/json' },
      body: JSON.stringify(body),
    });
    const json = await answer.json().catch(() => ({}));
    return answer.ok ? { answer: json } : { problem: describe(json) };
  } catch {
    return { problem: words.unreachable };
  }
}

/** The text of a problem: by its type, by the fields that are wrong, or as the service wrote it. */
function describe(problem) {
  const known = words.problems[(problem.type ?? '').replace('/docs#', '')];
  const fields = (problem.errors ?? [])
    .map(({ pointer, message }) => words.fields[pointer.slice(1)] ?? message);
  return known ?? (fields.join(' · ') || problem.detail || words.unreachable);
}

const failed = (name, text) => ({ isDone: false, text: fill(fill(words.failed, name), text), reason: text });

/** Assigns an order to the courier `to`, or to the first one who is free. */
export async function assign(subject, to) {
  const body = { order_id: subject.order };
  if (to) body.courier_id = to.id;
  const { answer, problem } = await call('POST', '/delivery/assign', body);
  if (problem) return failed(subject.name, problem);
  const courier = { id: answer.courier_id, name: to?.name ?? await nameOf(answer.courier_id) };
  const isMoved = CARRIED.includes(subject.state);
  const carried = { ...subject, state: 'assigned', former: courier.id };
  const back = async () => {
    if (isMoved) return assign(carried, { id: subject.former, name: await nameOf(subject.former) });
    // It waits at its old place again, or is held again.
    return unassign(carried, subject.state === 'waiting' ? 'wait' : 'hold');
  };
  return {
    isDone: true,
    text: fill(fill(isMoved ? words.moved : words.assigned, subject.name), courier.name),
    undo: back,
  };
}

/** Takes an order from its courier; `then` is `hold` or `wait`. */
export async function unassign(subject, then = 'hold') {
  const body = { order_id: subject.order, then };
  const { answer, problem } = await call('POST', '/delivery/unassign', body);
  if (problem) return failed(subject.name, problem);
  const courier = { id: answer.courier_id, name: await nameOf(answer.courier_id) };
  const text = then === 'wait' ? words.requeued : words.unassigned;
  return {
    isDone: true,
    text: fill(fill(text, subject.name), courier.name),
    undo: () => assign({ ...subject, state: then === 'wait' ? 'waiting' : 'held' }, courier),
  };
}

/** Pauses, resumes, retires or restores a courier. */
export async function setStatus(subject, status) {
  const before = subject.state === 'busy' ? 'available' : subject.state;
  if (before === status) return failed(subject.name, words.already);
  const { answer, problem } = await call('PUT', '/courier', { id: subject.courier, status });
  if (problem) return failed(subject.name, problem);
  const texts = { paused: words.paused, retired: words.retired, available: words.resumed };
  return {
    isDone: true,
    text: fill(before === 'retired' ? words.restored : texts[status], subject.name),
    undo: () => setStatus({ ...subject, state: answer.status }, before),
  };
}

/** Adds a courier. */
export async function addCourier(fields) {
  const { problem } = await call('POST', '/courier', fields);
  if (problem) return failed(fields.name, problem);
  return { isDone: true, text: fill(words.added, fields.name) };
}

/** The name of a courier: as the page shows it, or as the service knows it. */
async function nameOf(id) {
  const shown = $(`[data-courier="${id}"] .name, a[href="/courier/${id}"]`);
  if (shown) return shown.textContent.trim();
  try {
    const answer = await fetch(`/courier/${id}`, { headers: { accept: 'application/json' } });
    if (answer.ok) return visible((await answer.json()).name);
  } catch { /* The change is made; only the name is missing. */ }
  return `${words.courier} ${id}`;
}
