// Whether a text fits a pattern with stars, in time by the product of both lengths and never more: a pattern is somebody's, and a text somebody
// else's. Pure. Not here: which patterns there may be (access/trust-rules.ts, access/tag-patterns.ts,
// features/webhooks).

/** Whether a pattern fits the whole of a text: `**` stands for any characters, `*` for any but `barriers`. */
export function fitsWildcards(pattern: string, text: string, barriers: string): boolean {
  const parts = pattern.match(/\*\*|[^]/gu) ?? [];
  // The beginnings of the pattern that the text so far fits.
  let reached = new Uint8Array(parts.length + 1);
  let next = new Uint8Array(parts.length + 1);
  reached[0] = 1;
  skipStars(parts, reached);
  for (const character of text) {
    next.fill(0);
    const isBarrier = barriers.includes(character);
    for (let at = 0; at < parts.length; at++) {
      if (reached[at] === 0) continue;
      const part = parts[at];
      if (part === "**" || (part === "*" && !isBarrier)) next[at] = 1;
      else if (part === character && part !== "*") next[at + 1] = 1;
    }
    skipStars(parts, next);
    [reached, next] = [next, reached];
  }
  return reached[parts.length] === 1;
}

/** A star may stand for nothing. */
function skipStars(parts: readonly string[], reached: Uint8Array): void {
  for (let at = 0; at < parts.length; at++) if (reached[at] === 1 && (parts[at] === "*" || parts[at] === "**")) reached[at + 1] = 1;
}
