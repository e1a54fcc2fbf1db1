// How those who change something say what they changed: into a sink that is handed to them, inside the transaction that did it.
// Not here: the kinds of change (content/changes.ts), where they are kept and who learns of them (events/outbox.ts, reactions.ts).
import type { Executor } from "../platform/database/database.ts";
import type { Actor } from "./actor.ts";

/** What every change says. */
export interface Change {
  /** What happened, as `subject.verb`: "tag.moved". */
  readonly kind: string;
}

/** Takes changes of a kind of owner. */
export interface ChangeSink<C extends Change> {
  /** Whether anybody learns of changes of this kind. What nobody wants costs nothing: whoever changes it need not find out what to say. */
  wants(kind: C["kind"]): boolean;
  /**
   * Records what the transaction did, in the order of `changes`; it is known if and only if the transaction is committed. What nobody wants is
   * left out. Call it when the rows that the changes are about are locked, so that two changes of one thing are recorded in their order.
   */
  record(tx: Executor, actor: Actor, changes: readonly C[]): Promise<void>;
}
