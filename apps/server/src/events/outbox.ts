// The outbox: it holds changes from the commit that made them until their reactions were requested as jobs. Both happen in one transaction
// each, so that a process that ends anywhere loses no reaction and doubles none. A change whose reaction fails becomes a job of its own,
// which is retried and delays no other. Not here: which job a change leads to (reactions.ts), the changes (content/changes.ts,
// access/account-changes.ts), running jobs (job-runner.ts).
import { RegistryError } from "@berth/oci/errors";
import type { Actor } from "../access/actor.ts";
import type { Change, ChangeSink } from "../access/changes.ts";
import type { Clock } from "../platform/clock.ts";
import { type Database, type Executor, ON_FULL_DISK } from "../platform/database/database.ts";
import { statement } from "../platform/database/statement.ts";
import type { NewJob, RunningJob } from "./job-kinds.ts";
import { putJob, putJobs } from "./job-store.ts";

/** A change as reactions get it. */
export interface Event<C extends Change = Change> {
  /** Never reused, and ascending among changes of one object. */
  readonly id: number;
  /** In milliseconds since 1970. */
  readonly at: number;
  readonly actor: Actor;
  readonly change: C;
}

/** The reaction to each kind of change. A kind without one is not recorded. */
export type Reactions<C extends Change> = { readonly [K in C["kind"]]?: (event: Event<Extract<C, { kind: K }>>) => readonly NewJob[] };

/** What follows from changes besides, because somebody asked to be told of them while the registry runs. */
export interface Subscriptions<C extends Change> {
  /** Whether this program has changes of this kind at all. */
  knows(kind: string): boolean;
  /** Whether somebody may want changes of this kind. */
  wants(kind: C["kind"]): boolean;
  /** Whether somebody may want this one: true where it is not certain. */
  wantsChange(change: C): boolean;
  /** The jobs that follow from changes, in the transaction that dispatches them. */
  follow(tx: Executor, events: readonly Event<C>[]): Promise<readonly NewJob[]>;
}

/** Changes on their way to what follows from them. */
export interface Outbox<C extends Change> extends ChangeSink<C> {
  /** Requests the jobs of the oldest changes; true if there may be more. Of several processes one works, and the others wait for it. */
  dispatch(): Promise<boolean>;
  /** Runs a job of the kind `REACTION`: requests the jobs of one change that was set aside. */
  react(job: RunningJob): Promise<void>;
}

/** Notified by transactions that recorded changes. */
export const CHANGES_TOPIC = "changes";
/** The kind of the jobs that set-aside changes become. */
export const REACTION = "reaction";

/** Changes that one transaction dispatches: enough for thousands a second, few enough that nobody waits for it. */
const BATCH = 200;
/** The reaction has just failed, so it is not retried at once. */
const REACTION_DELAY_MS = 1000;

interface Row {
  readonly id: number;
  readonly at: number;
  readonly actor: string;
  readonly change: string;
}

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

// Locks the oldest first without skipping any: a second process waits for the first one, and continues after it.
const lockOldest = statement<{ limit: number }>()("outbox.lockOldest", (db, p, tools) =>
  db
    .selectFrom("outbox")
    .select(["id", "at", "actor", "change"])
    .where("id", ">", 0)
    .orderBy("id")
    .limit(p.limit)
    .modifyEnd(tools.lock("update")),
);

const lockOne = statement<{ id: number }>()("outbox.lockOne", (db, p, tools) =>
  db.selectFrom("outbox").select(["id", "at", "actor", "change"]).where("id", "=", p.id).modifyEnd(tools.lock("update")),
);

const remove = statement<{ ids: number[] }>()("outbox.remove", (db, p, tools) =>
  db.deleteFrom("outbox").where(({ ref }) => tools.inList(ref("id"), p.ids, "bigint")),
);

type Asked<C extends Change> = Pick<Subscriptions<C>, "wants" | "wantsChange">;

const NOBODY: Subscriptions<Change> = { knows: () => false, wants: () => false, wantsChange: () => false, follow: async () => [] };
/** For commands, which do not know what the registry's subscribers want: they may want everything. */
export const PERHAPS_ALL: Asked<Change> = { wants: () => true, wantsChange: () => true };

/** A sink alone, for commands that dispatch nothing. */
export function createChangeRecorder<C extends Change>(
  clock: Clock,
  reactions: Reactions<C>,
  subscriptions: Asked<C> = NOBODY,
): ChangeSink<C> {
  return {
    wants: (kind) => Object.hasOwn(reactions, kind) || subscriptions.wants(kind),
    async record(tx, actor, changes) {
      const wanted = changes.filter((change) => Object.hasOwn(reactions, change.kind) || subscriptions.wantsChange(change));
      if (wanted.length === 0) return;
      await tx.run(
        insert,
        { at: clock.now(), actor: JSON.stringify(actor), changes: wanted.map((change) => JSON.stringify(change)) },
        wanted.length,
      );
      tx.notify?.(CHANGES_TOPIC);
    },
  };
}

/** Who else is told. */
export interface OutboxOptions<C extends Change> {
  readonly subscriptions?: Subscriptions<C> | undefined;
  /** Hears why a change could not be dispatched with the others. */
  readonly onSetAside?: (error: unknown, changeId: number) => void;
}

/** Makes the outbox of a database. */
export function createOutbox<C extends Change>(
  database: Database,
  clock: Clock,
  reactions: Reactions<C>,
  { subscriptions = NOBODY, onSetAside = () => undefined }: OutboxOptions<C> = {},
): Outbox<C> {
  function jobsOf(event: Event<C>): readonly NewJob[] {
    const { kind } = event.change;
    if (Object.hasOwn(reactions, kind)) return (reactions[kind as C["kind"]] as (event: Event<C>) => readonly NewJob[])(event);
    // Another version of this program wanted it, and perhaps runs beside this one: it is set aside for that one.
    if (!subscriptions.knows(kind)) throw new Error(`nothing is known to follow from ${JSON.stringify(kind)}`);
    return [];
  }

  async function askFor(tx: Executor, rows: readonly Row[]): Promise<void> {
    const events = rows.map(({ id, at, actor, change }): Event<C> => ({
      id,
      at,
      actor: JSON.parse(actor) as Actor,
      change: JSON.parse(change) as C,
    }));
    const jobs = events.flatMap(jobsOf);
    await putJobs(tx, [...jobs, ...(await subscriptions.follow(tx, events))], clock.now());
  }

  async function dispatchOldest(limit: number, onLocked: (rows: readonly Row[]) => void = () => undefined): Promise<number> {
    return database.transaction(async (tx) => {
      const rows = await tx.all(lockOldest, { limit });
      onLocked(rows);
      if (rows.length === 0) return 0;
      await askFor(tx, rows);
      await tx.run(remove, { ids: rows.map(({ id }) => id) }, rows.length);
      return rows.length;
    }, ON_FULL_DISK);
  }

  /** Turns a change that cannot be dispatched into a job, unless another process dispatched it meanwhile. */
  async function setAside(id: number, error: unknown): Promise<void> {
    const isDone = await database.transaction(async (tx) => {
      const row = await tx.first(lockOne, { id });
      if (row === undefined) return false;
      const now = clock.now();
      await putJob(
        tx,
        { kind: REACTION, subject: `change ${id}`, projectId: projectOf(row), payload: row, dueAt: now + REACTION_DELAY_MS },
        now,
      );
      await tx.run(remove, { ids: [id] }, 1);
      return true;
    }, ON_FULL_DISK);
    if (isDone) onSetAside(error, id);
  }

  /** One at a time, so that failing changes delay no others. */
  async function dispatchOneByOne(): Promise<boolean> {
    for (let done = 0; done < BATCH; done++) {
      let oldest: Row | undefined;
      try {
        if ((await dispatchOldest(1, ([row]) => (oldest = row))) === 0) return false;
      } catch (error) {
        if (isOfDatabase(error) || oldest === undefined) throw error;
        await setAside(oldest.id, error);
      }
    }
    return true;
  }

  return {
    ...createChangeRecorder(clock, reactions, subscriptions),
    async dispatch() {
      try {
        return (await dispatchOldest(BATCH)) === BATCH;
      } catch (error) {
        if (isOfDatabase(error)) throw error;
        return dispatchOneByOne();
      }
    },
    async react(job) {
      // Also exactly once: the job ends in the transaction that requests the jobs.
      await database.transaction(async (tx) => {
        await job.endIn(tx);
        await askFor(tx, [job.payload as Row]);
      }, ON_FULL_DISK);
    },
  };
}

/** It is no fault of the change if the database is unreachable, full, or foreign. */
function isOfDatabase(error: unknown): boolean {
  return error instanceof RegistryError;
}

/** The project whose share of the workers its job uses, if the change names one. */
function projectOf({ change }: Row): number {
  try {
    const { projectId } = JSON.parse(change) as { readonly projectId?: unknown };
    return Number.isSafeInteger(projectId) ? (projectId as number) : 0;
  } catch {
    // It is not valid JSON, which is why it is set aside.
    return 0;
  }
}
