// How code reports its changes: into a sink that it is given, inside the transaction that makes them. Not here: the kinds of change
// (content/changes.ts), where they are stored and who reacts to them (events/outbox.ts, reactions.ts).
import type { Executor } from "../platform/database/database.ts";
import type { Actor } from "./actor.ts";

/** The common fields of changes. */
export interface Change {
  /** What happened, as `subject.verb`: "tag.moved". */
  readonly kind: string;
}

/** Records the changes of one kind of owner. */
export interface ChangeSink<C extends Change> {
  /** Whether anything reacts to changes of this kind. Unwanted changes cost nothing: the caller need not gather their details. */
  wants(kind: C["kind"]): boolean;
  /**
   * Records the changes of the transaction, in the given order; they are known if and only if the transaction is committed. Unwanted ones
   * are left out. Call it when the affected rows are locked, so that two changes of one object are recorded in their order.
   */
  record(tx: Executor, actor: Actor, changes: readonly C[]): Promise<void>;
}
