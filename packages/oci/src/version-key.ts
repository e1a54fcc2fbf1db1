// The order of tags that are versions: a key for each, whose order by bytes is that of semantic versions. Not here: where it is stored (the
// server's content/tags.ts).

/** The numbers of a version: major, minor, patch, and the fourth that some have. */
const NUMBERS = 4;
/** The most digits of one number: their count is one character of the key. No tag has a longer number that is meant as one. */
const MAX_DIGITS = 60;
/** A leading `v`, one to four numbers, a pre-release. What follows `+`, which no tag contains, or `_`, which replaces it, does not count. */
const VERSION = /^[vV]?(\d+(?:\.\d+){0,3})(?:-([0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?(?:_[0-9A-Za-z._-]*)?$/;

/**
 * The key of a tag: empty if it is not a version. A pre-release sorts before its release; `1.2` equals `1.2.0`. Two tags of one version
 * have the same key.
 * Source: Semantic Versioning 2.0.0, item 11.
 */
export function versionKey(tag: string): string {
  const found = VERSION.exec(tag);
  if (found === null) return "";
  const numbers = found[1]!.split(".").map(numberKey);
  while (numbers.length < NUMBERS) numbers.push(numberKey("0"));
  if (numbers.includes(undefined)) return "";
  // "~" sorts after everything that a pre-release may begin with. A space sorts before every character, so that "a" comes before "a.1" and
  // "a1".
  const identifiers = found[2] === undefined ? ["~"] : found[2].split(".").map(identifierKey);
  return identifiers.includes(undefined) ? "" : `v${numbers.join("")}${identifiers.join("")}`;
}

/** Whole numbers of any length, in their order: the number of digits, then the digits. */
function numberKey(digits: string): string | undefined {
  const short = digits.replace(/^0+(?=\d)/, "");
  return short.length > MAX_DIGITS ? undefined : String.fromCharCode(0x30 + short.length) + short;
}

/** Numbers sort before words. */
function identifierKey(identifier: string): string | undefined {
  if (!/^\d+$/.test(identifier)) return `2${identifier} `;
  const number = numberKey(identifier);
  return number === undefined ? undefined : `1${number} `;
}
