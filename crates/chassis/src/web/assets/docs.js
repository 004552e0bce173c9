// The API's documentation, rendered from /openapi.json. Texts go in as text, never as markup.

const api = document.querySelector('#api');
const words = JSON.parse(api.dataset.words);
const METHODS = ['get', 'head', 'post', 'put', 'delete'];

function el(name, properties = {}, ...children) {
  const { className, ...rest } = properties;
  const element = document.createElement(name);
  if (className) element.className = className;
  for (const [key, value] of Object.entries(rest)) element.setAttribute(key, value);
  element.append(...children.filter((child) => child !== undefined && child !== null));
  return element;
}

/** Prose with `code` in it. */
function prose(text = '') {
  return text.split(/(`[^`]+`)/).filter(Boolean)
    .map((part) => (part.startsWith('`') ? el('code', {}, part.slice(1, -1)) : part));
}

function resolver(document_) {
  const resolve = (value) => (value?.$ref
    ? resolve(value.$ref.slice(2).split('/').reduce((at, key) => at[key.replaceAll('~1', '/')], document_))
    : value);
  return resolve;
}

/** A schema in one word or two. */
function typeOf(schema) {
  if (!schema) return '';
  if (schema.$ref) return schema.$ref.split('/').at(-1);
  if (schema.oneOf) return schema.oneOf.map(typeOf).join(' | ');
  if (schema.type === 'array') return `${typeOf(schema.items)}[]`;
  const type = [schema.type].flat().join(' | ');
  return schema.enum ? schema.enum.map((one) => JSON.stringify(one)).join(' | ')
    : schema.format ? `${type} (${schema.format})` : type;
}

const pretty = (example) => (typeof example === 'string' ? example : JSON.stringify(example, null, 2));

function table(rows) {
  const body = el('tbody', {}, ...rows.map((cells) => el('tr', {},
    ...cells.map((cell, index) => el('td', index ? { className: 'what' } : { className: 'mono' }, ...[cell].flat())))));
  return el('div', { className: 'scroll', tabindex: '0', role: 'region', 'aria-label': words.parameters }, el('table', {}, body));
}

function contents(content, resolve) {
  return Object.entries(content ?? {}).flatMap(([type, media]) => {
    const examples = media.examples ? Object.values(media.examples).map((one) => resolve(one).value)
      : media.example !== undefined ? [media.example] : [];
    return [
      el('h4', {}, el('span', { className: 'mono' }, type), media.schema ? ` · ${typeOf(media.schema)}` : ''),
      ...examples.map((example) => el('pre', { tabindex: '0', 'aria-label': words.example }, pretty(example))),
    ];
  });
}

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

function curl(method, path, operation, parameters, resolve) {
  const filled = path.replace(/\{(\w+)\}/g, (_, name) => {
    const parameter = parameters.find((one) => one.name === name);
    return encodeURIComponent(parameter?.example ?? name).replaceAll('%3A', ':');
  });
  const parts = ['curl', '-sS'];
  if (method === 'head') parts.push('--head');
  else if (method !== 'get') parts.push('-X', method.toUpperCase());
  const type = Object.keys(operation.responses?.[200]?.content ?? {})[0];
  if (type === 'text/event-stream') parts.push('-N');
  const body = resolve(operation.requestBody)?.content?.['application/json'];
  const example = body?.example ?? resolve(Object.values(body?.examples ?? {})[0])?.value;
  if (example !== undefined) parts.push('-H', quoted('content-type: application/json'), '-d', quoted(JSON.stringify(example)));
  return [...parts, quoted(location.origin + filled)].join(' ');
}

function operation(method, path, item, op, resolve) {
  const parameters = [...(item.parameters ?? []), ...(op.parameters ?? [])].map(resolve);
  const line = curl(method, path, op, parameters, resolve);
  const inside = el('div', { className: 'in' });
  if (op.description) inside.append(el('p', { className: 'lead' }, ...prose(op.description)));
  if (parameters.length) {
    inside.append(el('h3', {}, words.parameters), table(parameters.map((one) => [
      one.name,
      [el('span', { className: 'quiet' }, `${one.in} · ${typeOf(one.schema)}${one.required ? ` · ${words.required}` : ''}`), el('br'), ...prose(one.description)],
    ])));
  }
  const body = resolve(op.requestBody);
  if (body) inside.append(el('h3', {}, words.body), ...(body.description ? [el('p', {}, ...prose(body.description))] : []), ...contents(body.content, resolve));
  inside.append(el('h3', {}, words.answers));
  for (const [status, reference] of Object.entries(op.responses ?? {})) {
    const answer = resolve(reference);
    inside.append(el('p', { className: 'status' }, el('b', {}, status), ' ', ...prose(answer.description)));
    const headers = Object.entries(answer.headers ?? {});
    if (headers.length) {
      inside.append(el('h4', {}, words.headers), table(headers.map(([name, header]) => [name, prose(resolve(header).description)])));
    }
    inside.append(...contents(answer.content, resolve));
  }
  inside.append(el('h3', {}, words.try_it), el('div', { className: 'curl' },
    el('pre', { tabindex: '0' }, line),
    el('button', { className: 'btn', type: 'button', 'data-copy': line, lang: document.documentElement.lang }, words.copy)));
  const id = op.operationId ?? `${method}-${path}`;
  return el('details', { className: 'call waybill', id },
    el('summary', {}, el('span', { className: 'mono' }, el('span', { className: 'method' }, method.toUpperCase()), ' ', path), el('span', { className: 'quiet' }, op.summary ?? '')),
    inside);
}

function schema(name, value, resolve) {
  const required = new Set(value.required ?? []);
  const rows = Object.entries(value.properties ?? {}).map(([key, property]) => [
    key,
    [el('span', { className: 'quiet' }, `${typeOf(property)}${required.has(key) ? ` · ${words.required}` : ''}`), el('br'), ...prose(property.$ref ? '' : resolve(property).description)],
  ]);
  return el('details', { className: 'call waybill', id: `schema-${name}` },
    el('summary', {}, el('b', { className: 'mono' }, name), el('span', { className: 'quiet' }, ...prose(value.title ?? ''))),
    el('div', { className: 'in' }, ...(value.description ? [el('p', { className: 'lead' }, ...prose(value.description))] : []), ...(rows.length ? [table(rows)] : [])));
}

function show(document_) {
  const resolve = resolver(document_);
  const all = Object.entries(document_.paths).flatMap(([path, item]) => METHODS.filter((method) => item[method])
    .map((method) => ({ method, path, item, op: item[method] })));
  const sections = document_.tags.map((tag) => el('section', {},
    el('h2', {}, tag.description ?? tag.name),
    ...all.filter(({ op }) => op.tags?.includes(tag.name)).map(({ method, path, item, op }) => operation(method, path, item, op, resolve))));
  const schemas = el('section', {}, el('h2', { lang: document.documentElement.lang }, words.schemas),
    ...Object.entries(document_.components.schemas).map(([name, value]) => schema(name, value, resolve)));
  api.replaceChildren(...sections, schemas);
  const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (target) { target.open = true; target.scrollIntoView(); }
}

addEventListener('click', async (event) => {
  const button = event.target.closest?.('[data-copy]');
  if (!button) return;
  try {
    await navigator.clipboard.writeText(button.dataset.copy);
    button.textContent = words.copied;
  } catch {
    button.textContent = words.not_copied;
  }
  document.querySelector('#say').textContent = button.textContent;
  setTimeout(() => { button.textContent = words.copy; }, 2000);
});

try {
  const answer = await fetch(api.dataset.src);
  if (!answer.ok) throw new Error(String(answer.status));
  show(await answer.json());
} catch {
  const notice = document.querySelector('#notice'); // The list that the server wrote stays.
  notice.textContent = words.unreachable;
  notice.hidden = false;
}
