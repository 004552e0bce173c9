// Renders the API's documentation from /openapi.json. Texts go in as text, never as markup.

import { copy } from './copy.js';
import { $, notice } from './dom.js';

const METHODS = ['get', 'head', 'post', 'put', 'delete'];

const api = $('#api');
const words = JSON.parse(api.dataset.words);
const pageLang = document.documentElement.lang;

// Elements.

/** Makes an element; children that are undefined or null are left out. */
function make(name, properties = {}, ...children) {
  const { className, ...attributes } = properties;
  const element = document.createElement(name);
  if (className) element.className = className;
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children.filter((child) => child !== undefined && child !== null));
  return element;
}

const quiet = (...children) => make('span', { className: 'quiet' }, ...children);

/** Makes text with `code` in it. */
function prose(text = '') {
  return text.split(/(`[^`]+`)/)
    .filter(Boolean)
    .map((part) => (part.startsWith('`') ? make('code', {}, part.slice(1, -1)) : part));
}

const paragraphs = (text, className) => (text
  ? [make('p', className ? { className } : {}, ...prose(text))]
  : []);

/** Makes a table that scrolls; `label` is its name for screen readers, unique on the page. */
function table(label, rows) {
  const cell = (content, index) => make(
    'td',
    { className: index ? 'what' : 'mono' },
    ...[content].flat(),
  );
  const body = make('tbody', {}, ...rows.map((cells) => make('tr', {}, ...cells.map(cell))));
  return make(
    'div',
    { className: 'scroll', tabindex: '0', role: 'region', 'aria-label': label },
    make('table', {}, body),
  );
}

// Schemas.

/** Returns a function that follows the references of the document. */
function resolver(openapi) {
  const follow = (reference) => reference.slice(2)
    .split('/')
    .reduce((at, key) => at[key.replaceAll('~1', '/')], openapi);
  const resolve = (value) => (value?.$ref ? resolve(follow(value.$ref)) : value);
  return resolve;
}

/** The most values of an enumeration that are listed as its type. */
const MAX_LISTED = 12;

/** Names the type of a schema in a word or two. */
function typeOf(schema) {
  if (!schema) return '';
  if (schema.$ref) return schema.$ref.split('/').at(-1);
  const choices = schema.oneOf ?? (schema.type ? undefined : schema.anyOf);
  if (choices) return choices.map(typeOf).join(' | ');
  if (schema.type === 'array') return `${typeOf(schema.items)}[]`;
  if (schema.enum?.length <= MAX_LISTED) return schema.enum.map((value) => JSON.stringify(value)).join(' | ');
  const type = [schema.type].flat().join(' | ');
  return schema.format ? `${type} (${schema.format})` : type;
}

const withRequired = (text, isRequired) => (isRequired ? `${text} · ${words.required}` : text);

// Calls.

const pretty = (example) => (typeof example === 'string'
  ? example
  : JSON.stringify(example, null, 2));

/** Lists the content types of a body, with their examples. */
function contents(content, resolve) {
  return Object.entries(content ?? {}).flatMap(([type, media]) => {
    let examples = [];
    if (media.examples) examples = Object.values(media.examples).map((one) => resolve(one).value);
    else if (media.example !== undefined) examples = [media.example];
    return [
      make(
        'h4',
        {},
        make('span', { className: 'mono' }, type),
        media.schema ? ` · ${typeOf(media.schema)}` : '',
      ),
      ...examples.map((example) => make(
        'pre',
        { tabindex: '0', 'aria-label': words.example },
        pretty(example),
      )),
    ];
  });
}

/** Quotes a text for the shell. */
const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

/** Writes the command line that makes a call. */
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
  if (example !== undefined) {
    parts.push('-H', quoted('content-type: application/json'));
    parts.push('-d', quoted(JSON.stringify(example)));
  }
  return [...parts, quoted(location.origin + filled)].join(' ');
}

function parameterTable(call, parameters) {
  return table(`${call}, ${words.parameters}`, parameters.map((parameter) => [
    parameter.name,
    [
      quiet(withRequired(`${parameter.in} · ${typeOf(parameter.schema)}`, parameter.required)),
      make('br'),
      ...prose(parameter.description),
    ],
  ]));
}

/** Makes the part about one answer of a call: status, headers, bodies. */
function answerParts(call, status, answer, resolve) {
  const label = `${call}, ${status}, ${words.headers}`;
  const headers = Object.entries(answer.headers ?? {})
    .map(([name, header]) => [name, prose(resolve(header).description)]);
  return [
    make('p', { className: 'status' }, make('b', {}, status), ' ', ...prose(answer.description)),
    ...(headers.length ? [make('h4', {}, words.headers), table(label, headers)] : []),
    ...contents(answer.content, resolve),
  ];
}

/** Makes a folded part, whose id can be linked to. */
function folded(id, summary, inside) {
  return make(
    'details',
    { className: 'call waybill', id },
    make('summary', {}, ...summary),
    make('div', { className: 'in' }, ...inside),
  );
}

function operationPart({ method, path, item, operation }, resolve) {
  const parameters = [...(item.parameters ?? []), ...(operation.parameters ?? [])].map(resolve);
  const body = resolve(operation.requestBody);
  const call = `${method.toUpperCase()} ${path}`;
  const command = curl(method, path, operation, parameters, resolve);
  const button = { className: 'btn', type: 'button', 'data-copy': command, lang: pageLang };
  const inside = [
    ...paragraphs(operation.description, 'lead'),
    ...(parameters.length
      ? [make('h3', {}, words.parameters), parameterTable(call, parameters)]
      : []),
    ...(body ? [make('h3', {}, words.body), ...paragraphs(body.description)] : []),
    ...(body ? contents(body.content, resolve) : []),
    make('h3', {}, words.answers),
    ...Object.entries(operation.responses ?? {})
      .flatMap(([status, answer]) => answerParts(call, status, resolve(answer), resolve)),
    make('h3', {}, words.try_it),
    make(
      'div',
      { className: 'curl' },
      make('pre', { tabindex: '0' }, command),
      make('button', button, words.copy),
    ),
  ];
  const name = make('span', { className: 'method' }, method.toUpperCase());
  const summary = [
    make('span', { className: 'mono' }, name, ' ', path),
    quiet(operation.summary ?? ''),
  ];
  return folded(operation.operationId ?? `${method}-${path}`, summary, inside);
}

function schemaPart(name, schema, resolve) {
  const required = new Set(schema.required ?? []);
  const rows = Object.entries(schema.properties ?? {}).map(([key, property]) => [
    key,
    [
      quiet(withRequired(typeOf(property), required.has(key))),
      make('br'),
      ...prose(property.$ref ? '' : resolve(property).description),
    ],
  ]);
  const summary = [make('b', { className: 'mono' }, name), quiet(...prose(schema.title ?? ''))];
  const inside = [
    ...paragraphs(schema.description, 'lead'),
    ...(rows.length ? [table(name, rows)] : []),
  ];
  return folded(`schema-${name}`, summary, inside);
}

// The page.

function show(openapi) {
  const resolve = resolver(openapi);
  const calls = Object.entries(openapi.paths).flatMap(([path, item]) => METHODS
    .filter((method) => item[method])
    .map((method) => ({ method, path, item, operation: item[method] })));
  const sections = openapi.tags.map((tag) => make(
    'section',
    {},
    make('h2', {}, tag.description ?? tag.name),
    ...calls.filter(({ operation }) => operation.tags?.includes(tag.name))
      .map((call) => operationPart(call, resolve)),
  ));
  const schemas = make(
    'section',
    {},
    make('h2', { lang: pageLang }, words.schemas),
    ...Object.entries(openapi.components.schemas)
      .map(([name, schema]) => schemaPart(name, schema, resolve)),
  );
  api.replaceChildren(...sections, schemas);
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (target) {
    target.open = true;
    target.scrollIntoView();
  }
}

addEventListener('click', (event) => {
  const button = event.target.closest?.('[data-copy]');
  if (button) copy(button, button.dataset.copy, words);
});

try {
  const answer = await fetch(api.dataset.src);
  if (!answer.ok) throw new Error(String(answer.status));
  show(await answer.json());
} catch {
  notice(words.unreachable); // The list that the server wrote stays.
}
