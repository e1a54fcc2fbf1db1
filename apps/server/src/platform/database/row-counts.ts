// How many rows a write must change, and what happens if it changed another number: the transaction lost a race that nobody foresaw, and
// runs again. Not here: the statements and their expected numbers (the stores).

/**
 * Exactly that many rows, or any number with the reason why nothing depends on it. A write that changes fewer rows than its author expected
 * has silently lost a race: the data was not written, but the caller would report that it was.
 */
export type ExpectedRows = number | { readonly any: string };

/** PostgreSQL's code for a serialization failure. Source: PostgreSQL manual, Appendix A. */
const SERIALIZATION_FAILURE = "40001";

/**
 * The error of a transaction that found a change between two of its statements: it runs again from its beginning. On SQLite, where one
 * transaction runs at a time, it is a defect and ends the request.
 */
export function lostRace(what: string): Error {
  return Object.assign(new Error(what), { code: SERIALIZATION_FAILURE });
}

/** Throws `lostRace` if a statement changed another number of rows than expected. */
export function checkRows(statementId: string, changed: number, expected: ExpectedRows): void {
  if (typeof expected !== "number" || changed === expected) return;
  throw lostRace(`statement ${statementId} changed ${changed} rows and not ${expected}`);
}
