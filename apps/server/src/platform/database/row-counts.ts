// How many rows a write must change, and what happens where it changed others: the transaction lost a race that nobody foresaw, and runs again.
// Not here: the statements and what is expected of each (the stores).

/**
 * Exactly so many rows, or any number, and then why nothing rests on it. A write that changes fewer rows than its author had in mind is a race
 * that was lost in silence: what was to be written is not there, and whoever waits is told that it is.
 */
export type ExpectedRows = number | { readonly any: string };

/** PostgreSQL's code for a serialization failure. Source: PostgreSQL manual, Appendix A. */
const SERIALIZATION_FAILURE = "40001";

/**
 * What a transaction throws that found something changed between two of its statements: it runs again, from its beginning. On SQLite, where one
 * transaction runs at a time, it is a defect and ends the request.
 */
export function lostRace(what: string): Error {
  return Object.assign(new Error(what), { code: SERIALIZATION_FAILURE });
}

/** Throws `lostRace` where a statement changed another number of rows than it must. */
export function checkRows(statementId: string, changed: number, expected: ExpectedRows): void {
  if (typeof expected !== "number" || changed === expected) return;
  throw lostRace(`statement ${statementId} changed ${changed} rows and not ${expected}`);
}
