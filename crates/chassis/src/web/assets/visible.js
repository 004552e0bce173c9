// Characters that a reader cannot see, made visible, as the server does it in HTML.

/** Format characters, line separators and fillers; a joiner only beside an ASCII character. */
const INVISIBLE = new RegExp(
  '[\\p{Cc}\\p{Zl}\\p{Zp}\\u034f\\u115f\\u1160\\u17b4\\u17b5\\u180b-\\u180f\\u2800\\u3164\\uffa0]'
  + '|(?![\\u200c\\u200d])\\p{Cf}|(?<![^\\x00-\\x7f])[\\u200c\\u200d]|[\\u200c\\u200d](?![^\\x00-\\x7f])',
  'gu',
);

/** Replaces each invisible character by its number, such as `[U+202E]`. */
export function visible(text) {
  const number = (char) => char.codePointAt(0).toString(16).toUpperCase().padStart(4, '0');
  return text.replace(INVISIBLE, (char) => `[U+${number(char)}]`);
}
