// Fetches a page of this service, to take parts of it.

import { parsePage } from './dom.js';

/** Returns the page at an address as a document, or nothing if the service does not answer with it. */
export async function fetchPage(address, signal) {
  try {
    const answer = await fetch(address, { headers: { accept: 'text/html' }, cache: 'no-store', signal });
    if (!answer.ok) return undefined;
    return parsePage(await answer.text());
  } catch {
    // The feed reports that the service is unreachable.
    return undefined;
  }
}
