// Names of entries of a directory, in one spelling: two that a directory takes for the same are the same text. Pure. Not here: asking a
// directory (the server).

/** Longer names are none: no directory has them, and each is compared. */
const MAX_LENGTH = 2048;
const ESCAPED = new Set([",", "+", '"', "\\", "<", ">", ";", "="]);

/**
 * A distinguished name in its one spelling: lower case, without spaces that mean nothing, and parts of one name in order; undefined for what
 * is no such name. Source: RFC 4514, sections 2 and 3; RFC 4518, section 2.6 (spaces).
 */
export function canonicalDn(written: string): string | undefined {
  if (written.length > MAX_LENGTH || !written.isWellFormed()) return undefined;
  const names: string[] = [];
  let parts: string[] = [];
  let at = 0;
  for (;;) {
    const read = readPart(written, at);
    if (read === undefined) return undefined;
    parts.push(read.part);
    at = read.end;
    if (written[at] !== "+") {
      names.push(parts.toSorted().join("+"));
      parts = [];
    }
    if (at === written.length) return names.join(",");
    at++;
  }
}

/** What a group of a directory is called in this registry: its distinguished name in one spelling, or any other name in lower case. */
export function ldapGroupKey(written: string): string {
  return canonicalDn(written) ?? written.toLowerCase();
}

/** One `type=value`, and where what separates it from the next one stands. */
function readPart(written: string, from: number): { part: string; end: number } | undefined {
  const type = /\s*(?:oid\.)?([a-z][a-z0-9-]*|\d+(?:\.\d+)*)\s*=\s*/iy;
  type.lastIndex = from;
  const match = type.exec(written);
  if (match === null) return undefined;
  const read = written[type.lastIndex] === '"' ? readQuoted(written, type.lastIndex + 1) : readValue(written, type.lastIndex);
  const value = read?.value === undefined ? undefined : prepare(read.value);
  if (read === undefined || value === undefined || value === "") return undefined;
  return { part: `${match[1]!.toLowerCase()}=${value}`, end: read.end };
}

interface Value {
  /** Undefined where it is no text. */
  readonly value: string | undefined;
  readonly end: number;
}

/** A value up to what separates it. */
function readValue(written: string, from: number): Value | undefined {
  const bytes: number[] = [];
  let at = from;
  while (at < written.length && !/[,;+]/.test(written[at]!)) {
    const next = readCharacter(written, at, bytes);
    if (next === undefined) return undefined;
    at = next;
  }
  return { value: textOf(bytes), end: at };
}

/** A value in quotes, as older programs write it. */
function readQuoted(written: string, from: number): Value | undefined {
  const bytes: number[] = [];
  let at = from;
  while (written[at] !== '"') {
    const next = at < written.length ? readCharacter(written, at, bytes) : undefined;
    if (next === undefined) return undefined;
    at = next;
  }
  const behind = /\s*/y;
  behind.lastIndex = at + 1;
  behind.exec(written);
  const end = behind.lastIndex;
  return end === written.length || /[,;+]/.test(written[end]!) ? { value: textOf(bytes), end } : undefined;
}

/** Reads one character, escaped or not, into bytes; gives where the next one stands. */
function readCharacter(written: string, at: number, bytes: number[]): number | undefined {
  if (written[at] !== "\\") {
    const character = String.fromCodePoint(written.codePointAt(at)!);
    bytes.push(...Buffer.from(character));
    return at + character.length;
  }
  const hex = /^[0-9a-f]{2}/i.exec(written.slice(at + 1, at + 3));
  if (hex !== null) {
    bytes.push(Number.parseInt(hex[0], 16));
    return at + 3;
  }
  const escaped = written[at + 1];
  if (escaped === undefined || !(ESCAPED.has(escaped) || escaped === " " || escaped === "#")) return undefined;
  bytes.push(...Buffer.from(escaped));
  return at + 2;
}

function textOf(bytes: readonly number[]): string | undefined {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(Uint8Array.from(bytes));
  } catch {
    return undefined;
  }
}

/** A value as directories compare it, with what would end it escaped. */
function prepare(value: string): string {
  const plain = value.normalize("NFC").toLowerCase().trim().replaceAll(/ {2,}/g, " ");
  let text = "";
  for (const character of plain) {
    const isSpecial = ESCAPED.has(character) || (character === "#" && text === "");
    // oxlint-disable-next-line no-control-regex -- control characters are escaped here, so that a name is one line
    text += isSpecial ? `\\${character}` : /[\u0000-\u001f\u007f]/.test(character) ? escapeControl(character) : character;
  }
  return text;
}

function escapeControl(character: string): string {
  return `\\${character.charCodeAt(0).toString(16).padStart(2, "0")}`;
}
