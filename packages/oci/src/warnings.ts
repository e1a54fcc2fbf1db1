// Warnings that an answer carries beside its content: texts for whoever reads a client's output. Pure. Not here: what is warned of.

/** All warnings of an answer together. Source: distribution-spec, Warnings: clients may leave out what is longer than 4096 bytes in all. */
const MAX_BYTES = 4096;
/** One of them: longer ones are cut, so that ten fit. */
const MAX_TEXT_CHARACTERS = 380;
/** 299: it lasts; "-": no agent is named. */
const PREFIX = "299 - ";

/** A text as one line of printable ASCII, at most so long: what comes from features and upstreams ends in headers and terminals. */
export function plainLine(text: string, maxCharacters: number): string {
  // Cut before anything looks at it: it may be of any length.
  const line = text
    .slice(0, maxCharacters * 4)
    .normalize("NFKD")
    .replaceAll(/\p{M}+/gu, "")
    .replaceAll(/[\s\p{Cc}\p{Cf}]+/gu, " ")
    .replaceAll(/[^ -~]/gu, "?")
    .trim();
  return line.length > maxCharacters ? `${line.slice(0, maxCharacters - 3)}...` : line;
}

/** The values of `Warning` headers that say the texts, the first ones where not all fit. Source: distribution-spec, Warnings; RFC 7234, 5.5. */
export function warningValues(texts: readonly string[]): string[] {
  const values: string[] = [];
  let left = MAX_BYTES;
  for (const text of new Set(texts)) {
    const line = plainLine(text, MAX_TEXT_CHARACTERS);
    if (line === "") continue;
    const value = `${PREFIX}"${line.replaceAll(/["\\]/g, String.raw`\$&`)}"`;
    left -= value.length;
    if (left < 0) break;
    values.push(value);
  }
  return values;
}
