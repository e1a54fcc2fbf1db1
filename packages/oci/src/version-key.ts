// The order of tags that are versions: a text for each, whose order by bytes is that of semantic versions. Not here: who keeps it (the server's
// content/tags.ts).

/** Numbers of a version: major, minor, patch, and the fourth that some have. */
const NUMBERS = 4;
/** Digits of one number: its length is one character of the key. No tag has a longer number that means one. */
const MAX_DIGITS = 60;
/** `v` in front, one to four numbers, a pre-release. Behind `+`, which no tag has, and `_`, which stands for it, is what does not count. */
const VERSION = /^[vV]?(\d+(?:\.\d+){0,3})(?:-([0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?(?:_[0-9A-Za-z._-]*)?$/;

/**
 * The key of a tag: empty for one that is no version. A pre-release comes before its release; `1.2` is `1.2.0`. Two tags of one version have one key.
 * Source: Semantic Versioning 2.0.0, item 11.
 */
export function versionKey(tag: string): string {
  const found = VERSION.exec(tag);
  if (found === null) return "";
  const numbers = found[1]!.split(".").map(numberKey);
  while (numbers.length < NUMBERS) numbers.push(numberKey("0"));
  if (numbers.includes(undefined)) return "";
  // "~" lies behind all that a pre-release may begin with. A space lies before every character, so that "a" comes before "a.1" and "a1".
  const identifiers = found[2] === undefined ? ["~"] : found[2].split(".").map(identifierKey);
  return identifiers.includes(undefined) ? "" : `v${numbers.join("")}${identifiers.join("")}`;
}

/** Whole numbers of any length, in their order: the number of digits, then the digits. */
function numberKey(digits: string): string | undefined {
  const short = digits.replace(/^0+(?=\d)/, "");
  return short.length > MAX_DIGITS ? undefined : String.fromCharCode(0x30 + short.length) + short;
}

/** Numbers come before words. */
function identifierKey(identifier: string): string | undefined {
  if (!/^\d+$/.test(identifier)) return `2${identifier} `;
  const number = numberKey(identifier);
  return number === undefined ? undefined : `1${number} `;
}
