// Errors in how the program was called, or on this machine; and the exit codes. Not here: errors of registries (explain-error.ts).
import { editDistance } from "@berth/api/edit-distance";

/** Exit codes. `misuse` is EX_USAGE of sysexits.h, as in berth-server; `interrupted` is the shell's for SIGINT. */
export const EXIT = { ok: 0, failed: 1, misuse: 64, interrupted: 130 } as const;

/** The command line is wrong: nothing was done. */
export class Misuse extends Error {
  override readonly name = "Misuse";
}

/** Nothing was done, or only a part, for a local reason: the message says what to do. */
export class Stopped extends Error {
  override readonly name = "Stopped";
}

/** Names the known name that is closest to what was typed, as the end of a sentence; empty if none is close. */
export function suggest(name: string, known: Iterable<string>): string {
  // A third of the letters may differ: enough for a typing error, too few for a random word.
  let least = Math.max(1, Math.floor(name.length / 3)) + 1;
  let nearest: string | undefined;
  for (const candidate of known) {
    const distance = editDistance(name, candidate);
    if (distance < least) [nearest, least] = [candidate, distance];
  }
  return nearest === undefined ? "" : `; did you mean ${nearest}?`;
}
