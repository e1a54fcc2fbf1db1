// What happens without a transaction of its own: pulls, logins, refusals, tokens. It is counted in memory, alike with alike, and put on record
// together, so that a pull stays free of writes and nobody who is refused can fill a disk. A process that is killed loses its last second: its row
// among the writers stays, and whoever finds it puts the gap on record. Not here: which requests are noted (http/audit-requests.ts).
import { randomUUID } from "node:crypto";
import { createBackgroundLoop } from "../../platform/background-loop.ts";
import { type Clock, SECOND_MS } from "../../platform/clock.ts";
import { type Database, ON_FULL_DISK } from "../../platform/database/database.ts";
import { statement } from "../../platform/database/statement.ts";
import { type AuditEntry, type AuditNote, entryOfNote } from "./audit-entries.ts";
import { recordEntries } from "./audit-sink.ts";

/** Counts what happens. */
export interface AuditNotes {
  /** Adds to a number in memory. `isRare`: what is alike is one record a minute, since strangers may cause it. */
  note(note: Omit<AuditNote, "at">, isRare: boolean, key?: string): void;
  /** The same for what is noted often, without making the note: false where none of this key is counted yet. */
  again(key: string): boolean;
  /** Puts on record what was counted so far. Errors: the database's; what was not written stays counted. */
  flush(): Promise<void>;
  /** Begins, with this process known in the database before anything is counted. */
  start(): Promise<void>;
  /** Ends, and puts the rest on record. */
  stop(): Promise<void>;
}

const FLUSH_EVERY_MS = SECOND_MS;
const MAX_REST_MS = 60 * SECOND_MS;
/** How long alike refusals are gathered after the first. */
const RARE_MS = 60 * SECOND_MS;
/** Different pulls of a second that are told apart: a few megabytes. */
const MAX_NOTED = 20_000;
/**
 * Different refusals and logins of a minute that are told apart, of each action: a million records a day at most, whoever tries, and no flood of refused
 * logins hides who was let in.
 */
const MAX_RARE = 200;
/** A writer that wrote nothing for so long is gone. */
const STALE_MS = 120 * SECOND_MS;
const SEEN_EVERY_MS = 30 * SECOND_MS;

const seen = statement<{ id: string; host: string; now: number; startedAt: number; batches: number }>()("audit.seenWriter", (db, p) =>
  db
    .insertInto("audit_writer")
    .values({ id: p.id, host: p.host, started_at: p.startedAt, seen_at: p.now, batches: p.batches })
    .onConflict((conflict) => conflict.column("id").doUpdateSet({ seen_at: p.now, batches: p.batches })),
);
const removeWriter = statement<{ id: string }>()("audit.removeWriter", (db, p) => db.deleteFrom("audit_writer").where("id", "=", p.id));
const removeStale = statement<{ id: string; before: number }>()(
  "audit.removeStaleWriters",
  (db, p) =>
    db
      .deleteFrom("audit_writer")
      .where("id", "<>", p.id)
      .where("seen_at", "<", p.before)
      .returning(["id", "host", "started_at", "seen_at", "batches"]),
  { bounded: "a row for each process" },
);

/** What it is made of. */
export interface AuditNotesParts {
  readonly database: Database;
  readonly clock: Clock;
  /** The machine, for who reads of a gap. */
  readonly host: string;
  /** Whether no other process can be at work on the database: whoever left a row there is gone. */
  readonly isAlone: boolean;
  readonly onRecorded?: () => void;
  readonly onError: (error: unknown) => void;
}

interface Counted {
  readonly note: Omit<AuditNote, "at">;
  readonly at: number;
  times: number;
}

/** Makes what counts. */
export function createAuditNotes({ database, clock, host, isAlone, onRecorded, onError }: AuditNotesParts): AuditNotes {
  const id = randomUUID();
  const startedAt = clock.now();
  let batches = 0;
  let seenAt = -Infinity;
  let isFirst = true;
  let often = new Map<string, Counted>();
  let rare = new Map<string, Counted>();
  /** How many of an action are in `rare`. */
  let rareOf = new Map<string, number>();
  let rareSince = clock.now();

  /** `isFull`: no more are told apart. */
  function add(into: Map<string, Counted>, key: string, { note, at, times }: Counted, isFull: boolean): void {
    const known = into.get(key);
    if (known !== undefined) known.times += times;
    else if (!isFull) {
      into.set(key, { note, at, times });
      if (into === rare) rareOf.set(note.action, (rareOf.get(note.action) ?? 0) + 1);
    } else {
      // Too many to be told apart: that they happened, and how often, is on record all the same.
      const summed = { action: note.action, outcome: note.outcome ?? "done", after: { isSummed: true } } as const;
      add(into, `more ${note.action} ${summed.outcome}`, { note: summed, at, times }, false);
    }
  }

  /** What is to be written now: of what is rare, each at its first time at once, and what came after it when the minute is over. */
  function take(now: number): Counted[] {
    const taken = [...often.values()];
    often = new Map();
    const isOver = Math.abs(now - rareSince) >= RARE_MS;
    for (const counted of rare.values()) {
      if (counted.times === 0 || (!isOver && announced.has(counted))) continue;
      taken.push({ ...counted });
      counted.times = 0;
      announced.add(counted);
    }
    if (isOver) {
      rare = new Map();
      rareOf = new Map();
      rareSince = now;
    }
    return taken;
  }
  let announced = new WeakSet<Counted>();

  async function write(entries: readonly AuditEntry[], now: number): Promise<void> {
    const before = isAlone && isFirst ? Number.MAX_SAFE_INTEGER : now - STALE_MS;
    await database.transaction(
      async (tx) => {
        const gone = await tx.all(removeStale, { id, before });
        const gaps = gone.map((writer) => {
          const after = {
            writer: writer.id,
            host: writer.host,
            startedAt: writer.started_at,
            lastSeenAt: writer.seen_at,
            batches: writer.batches,
          };
          return entryOfNote({ at: now, action: "audit.gap", outcome: "failed", actorKind: "system", actor: "audit", after });
        });
        await recordEntries(tx, now, [...gaps, ...entries]);
        await tx.run(seen, { id, host, now, startedAt, batches }, 1);
      },
      // Nobody waits for it, and a process that is killed loses none of it.
      { ...ON_FULL_DISK, durable: false },
    );
    isFirst = false;
    seenAt = now;
  }

  async function flush(): Promise<void> {
    const now = clock.now();
    const taken = take(now);
    if (taken.length === 0 && Math.abs(now - seenAt) < SEEN_EVERY_MS) return;
    batches++;
    try {
      await write(
        taken.map(({ note, at, times }) => entryOfNote({ ...note, at, times })),
        now,
      );
      if (taken.length > 0) onRecorded?.();
    } catch (error) {
      for (const counted of taken) add(often, JSON.stringify(counted.note), counted, often.size >= MAX_NOTED);
      throw error;
    }
  }

  const loop = createBackgroundLoop(flush, { everyMs: FLUSH_EVERY_MS, maxRestMs: MAX_REST_MS }, onError);

  return {
    again(key) {
      const known = often.get(key);
      if (known === undefined) return false;
      known.times++;
      return true;
    },
    note(note, isRare, key = keyOf(note)) {
      const counted = { note, at: clock.now(), times: 1 };
      if (isRare) add(rare, key, counted, (rareOf.get(note.action) ?? 0) >= MAX_RARE);
      else add(often, key, counted, often.size >= MAX_NOTED);
    },
    flush,
    async start() {
      // Whoever finds the row of a process that is gone knows of its gap, also where that one counted something in its first moment.
      await flush().catch(onError);
      loop.start();
    },
    async stop() {
      await loop.stop();
      rareSince = -Infinity;
      announced = new WeakSet();
      try {
        await flush();
        await database.transaction(
          (tx) => tx.run(removeWriter, { id }, { any: "another process may have taken this one for gone" }),
          ON_FULL_DISK,
        );
      } catch (error) {
        onError(error);
      }
    },
  };
}

/** What tells notes apart that are not counted together. */
function keyOf({ action, actor, address, repository, reference, account, after }: Omit<AuditNote, "at">): string {
  return `${action} ${actor} ${address} ${repository} ${reference} ${account} ${after === undefined ? "" : JSON.stringify(after)}`;
}
