// What is wrong with one field of a request, in words, and how many of them an answer lists. Not here: the checks (check-value.ts, and the server's http/api/read-json.ts).

/** One thing wrong with a request. */
export interface Problem {
  /** For example `body.name` or `query.limit`. */
  readonly field: string;
  readonly reason: string;
}

/** The most problems that one answer lists; the checks stop there, which also bounds their work. */
export const MAX_PROBLEMS = 10;

/** Most characters of a name that the client chose, in an answer. */
const MAX_SHOWN = 100;

/** The name of a field or an item of `parent`. */
export function fieldOf(parent: string, name: string | number): string {
  return `${parent}.${typeof name === "number" ? name : name.slice(0, MAX_SHOWN)}`;
}
