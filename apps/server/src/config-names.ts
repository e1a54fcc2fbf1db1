// Settings' paths, their names in the environment, and the nearest name to a misspelled one. Not here: their values (config-load.ts).
import { CONFIG_SCHEMA, type Section } from "./config.ts";
import type { Setting } from "./config-kinds.ts";

/** All settings with their paths, in the schema's order. */
export function listSettings(section: Section = CONFIG_SCHEMA, prefix = ""): readonly (readonly [string, Setting<unknown>])[] {
  return Object.entries(section).flatMap(([name, part]) =>
    isSetting(part) ? [[prefix + name, part] as const] : listSettings(part, `${prefix}${name}.`),
  );
}

/** Whether a part of the schema is a setting and not a section. */
export function isSetting(part: Section | Setting<unknown>): part is Setting<unknown> {
  return typeof part["parse"] === "function";
}

/** The environment's name of a path: `http.publicUrl` is BERTH_HTTP_PUBLIC_URL. */
export function environmentName(path: string): string {
  return `BERTH_${path
    .replaceAll(/([a-z0-9])([A-Z])/g, "$1_$2")
    .replaceAll(".", "_")
    .toUpperCase()}`;
}

/** `; did you mean X?` when a known name is near, else nothing. */
export function suggest(name: string, known: Iterable<string>, prefix = ""): string {
  let nearest: string | undefined;
  // A third of the letters may differ: enough for a typing error or a missing part, too few for a random word.
  let least = Math.max(2, Math.floor(Math.min(name.length, 64) / 3)) + 1;
  for (const candidate of known) {
    // A name whose end was left off, often its unit, is near however long the end is.
    const isStart = name.length > 4 && candidate.startsWith(name);
    if (!isStart && Math.abs(candidate.length - name.length) >= least) continue;
    const distance = isStart ? 1 : editDistance(name.toLowerCase(), candidate.toLowerCase());
    if (distance < least) [nearest, least] = [candidate, distance];
  }
  return nearest === undefined ? "" : `; did you mean ${prefix}${nearest}?`;
}

/** Letters to add, drop or change. Source: Levenshtein, 1966. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const change = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(change, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1));
    }
    row = next;
  }
  return row[b.length] ?? 0;
}
