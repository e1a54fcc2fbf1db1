// Warnings that an answer carries beside its content: texts that clients print. Pure. Not here: the reasons for warnings.

/** The most bytes of all warnings of an answer. Source: distribution-spec, Warnings: clients may ignore what exceeds 4096 bytes in all. */
const MAX_BYTES = 4096;
/** The most characters of one warning: longer ones are cut, so that ten fit. */
const MAX_TEXT_CHARACTERS = 380;
/** 299: a lasting warning; "-": no agent is named. */
const PREFIX = "299 - ";

/** A text as one line of printable ASCII with a maximal length: texts of features and upstreams are copied into headers and terminals. */
export function plainLine(text: string, maxCharacters: number): string {
  // Cut first, because the text may be of any length.
  const line = text
    .slice(0, maxCharacters * 4)
    .normalize("NFKD")
    .replaceAll(/\p{M}+/gu, "")
    .replaceAll(/[\s\p{Cc}\p{Cf}]+/gu, " ")
    .replaceAll(/[^ -~]/gu, "?")
    .trim();
  return line.length > maxCharacters ? `${line.slice(0, maxCharacters - 3)}...` : line;
}

/** The values of `Warning` headers for the texts, only the first ones if not all fit. Source: distribution-spec, Warnings; RFC 7234, 5.5. */
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
