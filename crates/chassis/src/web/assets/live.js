// A stream of server-sent events: connects, resumes after the last event, and reports a cut.
//
// The stream is read with fetch. An EventSource cannot send the id of an event that came with the
// page, and does not connect again after an error status.

const FIRST_DELAY = 1000;

/**
 * Opens a stream. It is closed while the page is hidden, because browsers allow few connections to
 * a server.
 *
 * - `address`: a function that returns the address of the stream.
 * - `lastEventId`: the last event that the page includes; the stream begins after it.
 * - `timeout`: the longest time without data, in ms. The stream counts as cut after that.
 * - `maxDelay`: the longest delay before the next attempt, in ms.
 * - `events`: functions by name of event. Each gets the event's JSON.
 * - `onOpen`: called when the server has accepted the request.
 * - `onBack`: called before the first event after a cut.
 * - `onCut`: called with the time of the last event at each failed attempt.
 *
 * Returns `{ connect }`, which connects again, for example to another address.
 */
export function openStream({
  address, lastEventId = '', timeout, maxDelay, events, onOpen = () => {}, onBack, onCut,
}) {
  let connection;
  let retry;
  let failures = 0;
  let lastDataAt = Date.now();

  async function connect() {
    close();
    if (document.hidden) return;
    const mine = new AbortController();
    connection = mine;
    try {
      await receive(mine);
    } catch { /* Every end of the stream is handled below. */ }
    // Another connection has replaced this one, or the page is hidden: nothing was cut.
    if (connection !== mine) return;
    failures += 1;
    onCut(lastDataAt);
    const delay = Math.min(maxDelay, FIRST_DELAY * 2 ** (failures - 1));
    // Random, so that not all pages connect at the same moment after a restart of the service.
    retry = setTimeout(connect, delay / 2 + Math.random() * delay / 2);
  }

  function close() {
    clearTimeout(retry);
    connection?.abort();
    connection = undefined;
  }

  /** Reads the stream to its end, or until no data has arrived for `timeout`. */
  async function receive(mine) {
    let alarm;
    const restartAlarm = () => {
      clearTimeout(alarm);
      alarm = setTimeout(() => mine.abort(), timeout);
    };
    try {
      restartAlarm();
      const headers = { accept: 'text/event-stream' };
      if (lastEventId) headers['last-event-id'] = lastEventId;
      const answer = await fetch(address(), { headers, signal: mine.signal, cache: 'no-store' });
      if (!answer.ok) throw new Error(`${address()}: ${answer.status}`);
      onOpen();
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      let rest = '';
      for (;;) {
        const { value, done } = await reader.read();
        if (done || connection !== mine) return;
        restartAlarm();
        const blocks = (rest + value).split(/\r?\n\r?\n/);
        rest = blocks.pop();
        blocks.forEach(dispatch);
      }
    } finally {
      clearTimeout(alarm);
    }
  }

  /** Calls the function for one event; a block without data and name is a heartbeat. */
  function dispatch(block) {
    let name = '';
    const data = [];
    for (const line of block.split(/\r?\n/)) {
      const [, field, value = ''] = /^([^:]*)(?:: ?(.*))?$/s.exec(line);
      if (field === 'event') name = value;
      else if (field === 'data') data.push(value);
      else if (field === 'id') lastEventId = value;
    }
    if (!name) return;
    if (failures) onBack();
    failures = 0;
    lastDataAt = Date.now();
    events[name]?.(data.length ? JSON.parse(data.join('\n')) : undefined);
  }

  document.addEventListener('visibilitychange', () => (document.hidden ? close() : connect()));
  addEventListener('pagehide', close);
  addEventListener('pageshow', (event) => {
    if (event.persisted) connect();
  });
  connect();
  return { connect };
}
