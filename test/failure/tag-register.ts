// A tag as a register: which answers puts, deletions and reads of it may have, and that its history in the database has the same changes in
// the same order. Not here: the search for an order (linearizability.ts), the clients (tag-load.ts).
import { findViolation, type Model, type Operation, type Violation } from "./linearizability.ts";

/** The digest that a tag names; null: the tag does not exist. */
export type Named = string | null;

/** The condition of a put or a deletion, as HTTP's If-Match and If-None-Match: "*" is any digest. */
export type Demand = { readonly header: "if-match" | "if-none-match"; readonly digest: string } | undefined;

/** An operation with its answer; `answer` is undefined if none came, or none that says what happened. */
export type TagOperation =
  | {
      readonly kind: "put";
      readonly digest: string;
      readonly demand: Demand;
      readonly answer: "stored" | { readonly found: Named } | undefined;
    }
  | { readonly kind: "delete"; readonly demand: Demand; readonly answer: "deleted" | "absent" | { readonly found: Named } | undefined }
  | { readonly kind: "read"; readonly answer: { readonly found: Named } };

function isMet(demand: Demand, named: Named): boolean {
  if (demand === undefined) return true;
  const isNamed = named !== null && (demand.digest === "*" || demand.digest === named);
  return isNamed === (demand.header === "if-match");
}

/** The tag's digest after an operation; undefined if the operation cannot have had its answer. */
function after(named: Named, operation: TagOperation): Named | undefined {
  switch (operation.kind) {
    case "read":
      return operation.answer.found === named ? named : undefined;
    case "delete": {
      const { answer, demand } = operation;
      // A missing tag is answered as absent, whatever the condition.
      if (named === null) return answer === undefined || answer === "absent" ? null : undefined;
      const isDeleted = isMet(demand, named);
      if (answer === undefined) return isDeleted ? null : named;
      if (answer === "deleted") return isDeleted ? null : undefined;
      return !isDeleted && answer !== "absent" && answer.found === named ? named : undefined;
    }
    case "put": {
      const { answer, demand, digest } = operation;
      const isStored = isMet(demand, named);
      if (answer === undefined) return isStored ? digest : named;
      if (answer === "stored") return isStored ? digest : undefined;
      return !isStored && answer.found === named ? named : undefined;
    }
  }
}

/** The tag by its answers alone; at first it does not exist. */
export const TAG: Model<Named, TagOperation> = { initial: null, apply: after };

/** The tag with these changes, oldest first: the state is how many of them have happened. */
export function tagWithHistory(changes: readonly Named[]): Model<number, TagOperation> {
  const named = (at: number): Named => (at === 0 ? null : changes[at - 1]!);
  return {
    initial: 0,
    apply(at, operation) {
      const next = after(named(at), operation);
      if (next === undefined) return undefined;
      if (next === named(at)) return at;
      return at < changes.length && named(at + 1) === next ? at + 1 : undefined;
    },
    isEnd: (at) => at === changes.length,
  };
}

/** Why a tag's operations and its history in the database contradict each other; undefined if they do not. */
export function findFault(operations: readonly Operation<TagOperation>[], changes: readonly Named[]): string | undefined {
  const same = changes.findIndex((named, at) => named === (at === 0 ? null : changes[at - 1]));
  // Far fewer orders fit the history, so it is tried first.
  const byHistory = findViolation(operations, tagWithHistory(changes));
  if (byHistory === undefined && same === -1) return undefined;
  const byAnswers = findViolation(operations, TAG);
  if (byAnswers !== undefined) return describe("the answers allow no order", operations, byAnswers);
  if (byHistory === undefined || same !== -1) return `the history changes nothing at its entry ${same}: ${changes.map(shown).join(" ")}`;
  return `${describe("the history does not fit the answers", operations, byHistory)}\n  history: ${changes.map(shown).join(" ")}`;
}

/** The number of operations shown before the one that does not fit. */
const SHOWN = 25;

function describe(
  what: string,
  operations: readonly Operation<TagOperation>[],
  { operation, open, states }: Violation<TagOperation>,
): string {
  const until = operation?.answeredAt ?? Infinity;
  const before = operations.filter((each) => each.calledAt < until && each !== operation && !open.includes(each));
  const line = (mark: string, each: Operation<TagOperation>): string =>
    `  ${mark} ${each.calledAt}-${each.answeredAt ?? "?"} ${shownOperation(each.what)}`;
  return [
    `${what}; the state before may be ${states.map(shown).join(", ")}`,
    ...before
      .toSorted((one, other) => one.calledAt - other.calledAt)
      .slice(-SHOWN)
      .map((each) => line(" ", each)),
    ...open.map((each) => line("~", each)),
    operation === undefined ? "  the end" : line("!", operation),
  ].join("\n");
}

function shown(state: unknown): string {
  return typeof state === "string" ? state.slice(0, 15) : String(state);
}

function shownOperation(operation: TagOperation): string {
  const answer =
    operation.answer === undefined
      ? "no answer"
      : typeof operation.answer === "string"
        ? operation.answer
        : `found ${shown(operation.answer.found)}`;
  if (operation.kind === "read") return `read: ${answer}`;
  const demand = operation.demand === undefined ? "" : ` ${operation.demand.header} ${shown(operation.demand.digest)}`;
  return `${operation.kind}${operation.kind === "put" ? ` ${shown(operation.digest)}` : ""}${demand}: ${answer}`;
}
