// The outbox: changes lie in it from the commit that made them until the jobs that follow from them have been asked for, which is one
// transaction as well, so that a process that ends anywhere loses none and doubles none. Not here: which job follows from what (reactions.ts),
// what can happen (content/changes.ts), who runs jobs (job-runner.ts).
import type { Actor } from "../access/actor.ts";
import type { Change, ChangeSink } from "../access/changes.ts";
import type { Clock } from "../platform/clock.ts";
import { type Database, type Executor, ON_FULL_DISK } from "../platform/database/database.ts";
import { statement } from "../platform/database/statement.ts";
import type { NewJob } from "./job-kinds.ts";
import { putJob } from "./job-store.ts";

/** A change as those who react get it. */
export interface Event<C extends Change = Change> {
  /** Never used again, and rising among changes of one thing. */
  readonly id: number;
  /** In milliseconds since 1970. */
  readonly at: number;
  readonly actor: Actor;
  readonly change: C;
}

/** What follows from each kind of change. A kind that is not here is not recorded. */
export type Reactions<C extends Change> = { readonly [K in C["kind"]]?: (event: Event<Extract<C, { kind: K }>>) => readonly NewJob[] };

/** Changes on their way to what follows from them. */
export interface Outbox<C extends Change> extends ChangeSink<C> {
  /** Asks for the jobs of the oldest changes; true where there may be more. Of several processes one works, and the others wait for it. */
  dispatch(): Promise<boolean>;
}

/** Changes that one transaction dispatches: long enough for thousands a second, short enough that nobody waits for it. */
const BATCH = 200;

const insert = statement<{ at: number; actor: string; changes: string[] }>()("outbox.insert", (db, p, tools) =>
  db
    .insertInto("outbox")
    .columns(["at", "actor", "change"])
    .expression((eb) =>
      eb
        .selectFrom(tools.rows(p.changes, "text").as("recorded"))
        .select(({ cast, val }) => [
          cast<number>(val(p.at), "bigint").as("at"),
          cast<string>(val(p.actor), "text").as("actor"),
          "recorded.value",
        ]),
    ),
);

// Oldest first and locked without passing over any: a second process waits for the first one, and goes on behind it.
const lockOldest = statement<{ limit: number }>()("outbox.lockOldest", (db, p, tools) =>
  db
    .selectFrom("outbox")
    .select(["id", "at", "actor", "change"])
    .where("id", ">", 0)
    .orderBy("id")
    .limit(p.limit)
    .modifyEnd(tools.lock("update")),
);

const remove = statement<{ ids: number[] }>()("outbox.remove", (db, p, tools) =>
  db.deleteFrom("outbox").where(({ ref }) => tools.inList(ref("id"), p.ids, "bigint")),
);

/** Makes the outbox of a database. */
export function createOutbox<C extends Change>(database: Database, clock: Clock, reactions: Reactions<C>): Outbox<C> {
  const wants = (kind: C["kind"]): boolean => Object.hasOwn(reactions, kind);

  function jobsOf(event: Event<C>): readonly NewJob[] {
    // What another version of this program wanted, and this one does not know, is let go.
    const reaction = reactions[event.change.kind as C["kind"]] as ((event: Event<C>) => readonly NewJob[]) | undefined;
    return reaction === undefined ? [] : reaction(event);
  }

  async function dispatchIn(tx: Executor): Promise<boolean> {
    const rows = await tx.all(lockOldest, { limit: BATCH });
    if (rows.length === 0) return false;
    const now = clock.now();
    for (const { id, at, actor, change } of rows) {
      for (const job of jobsOf({ id, at, actor: JSON.parse(actor) as Actor, change: JSON.parse(change) as C })) await putJob(tx, job, now);
    }
    await tx.run(remove, { ids: rows.map(({ id }) => id) }, rows.length);
    return rows.length === BATCH;
  }

  return {
    wants,
    async record(tx, actor, changes) {
      const wanted = changes.filter(({ kind }) => wants(kind));
      if (wanted.length === 0) return;
      await tx.run(
        insert,
        { at: clock.now(), actor: JSON.stringify(actor), changes: wanted.map((change) => JSON.stringify(change)) },
        wanted.length,
      );
    },
    dispatch: () => database.transaction(dispatchIn, ON_FULL_DISK),
  };
}
