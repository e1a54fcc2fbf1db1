// Two quota ledgers for tests: one with a row for each project and each reservation in its own tables, as a feature would have, and an
// obvious fake that allows a number of bytes at a time. Not here: the tests (quota.test.ts).
import type { Kysely } from "kysely";
import type { ProjectTrait } from "../access/project-traits.ts";
import { quotaExceeded, type QuotaLedger } from "../content/rules.ts";
import type { Clock } from "../platform/clock.ts";
import type { Database, Executor } from "../platform/database/database.ts";
import { statement } from "../platform/database/statement.ts";

/** What projects have whose bytes are limited. */
export const quotaTrait: ProjectTrait = { name: "test-quota", read: Number };

/** A ledger, how a test sets a project's limit, and what it has recorded. */
export interface TestLedger {
  readonly ledger: QuotaLedger;
  /** Also restarts the count. */
  limit(projectId: number, limitBytes: number): Promise<void>;
  /** Bytes that are taken. */
  used(projectId: number): Promise<number>;
  reservations(): Promise<number>;
}

interface Tables {
  test_quota: { project_id: number; limit_bytes: number; used_bytes: number };
  test_reservation: { upload: string; project_id: number; bytes: number; until: number };
}

const own = (db: unknown): Kysely<Tables> => db as Kysely<Tables>;

const put = statement<{ projectId: number; limit: number }>()("test.quota.put", (db, p) =>
  own(db)
    .insertInto("test_quota")
    .values({ project_id: p.projectId, limit_bytes: p.limit, used_bytes: 0 })
    .onConflict((conflict) => conflict.column("project_id").doUpdateSet({ limit_bytes: p.limit, used_bytes: 0 })),
);
const add = statement<{ projectId: number; bytes: number }>()("test.quota.add", (db, p) =>
  own(db)
    .updateTable("test_quota")
    .set(({ eb }) => ({ used_bytes: eb("used_bytes", "+", p.bytes) }))
    .where("project_id", "=", p.projectId)
    .returning(["used_bytes", "limit_bytes"]),
);
const find = statement<{ projectId: number }>()("test.quota.find", (db, p) =>
  own(db).selectFrom("test_quota").select("used_bytes").where("project_id", "=", p.projectId),
);
const sumOthers = statement<{ projectId: number; now: number }>()("test.quota.sum", (db, p) =>
  own(db)
    .selectFrom("test_reservation")
    .select(({ fn }) => fn.sum<number>("bytes").as("bytes"))
    .where("project_id", "=", p.projectId)
    .where("until", ">", p.now),
);
const reserve = statement<{ upload: string; projectId: number; bytes: number; until: number }>()("test.quota.reserve", (db, p) =>
  own(db).insertInto("test_reservation").values({ upload: p.upload, project_id: p.projectId, bytes: p.bytes, until: p.until }),
);
const release = statement<{ upload: string }>()("test.quota.release", (db, p) =>
  own(db).deleteFrom("test_reservation").where("upload", "=", p.upload).returning("upload"),
);
const countReservations = statement<Record<never, never>>()("test.quota.count", (db) =>
  own(db)
    .selectFrom("test_reservation")
    .select(({ fn }) => fn.countAll<number>().as("count")),
);

/** The realistic one: each writer locks the project's row, and sees what all before it took. */
export async function tableLedger(database: Database, clock: Clock): Promise<TestLedger> {
  await database.script("create table test_quota (project_id bigint primary key, limit_bytes bigint not null, used_bytes bigint not null)");
  await database.script(
    "create table test_reservation (upload text primary key, project_id bigint not null, bytes bigint not null, until bigint not null)",
  );

  async function takeIn(tx: Executor, projectId: number, upload: string | undefined, newBytes: number) {
    const row = await tx.first(add, { projectId, bytes: newBytes });
    if (row === undefined) throw new Error(`project ${projectId} has no row`);
    if (upload !== undefined) await tx.all(release, { upload });
    const reserved = Number((await tx.first(sumOthers, { projectId, now: clock.now() }))?.bytes ?? 0);
    return { limitBytes: row.limit_bytes, usedBytes: row.used_bytes - newBytes + reserved, newBytes };
  }

  return {
    ledger: {
      trait: quotaTrait,
      async take(tx, grant, newBytes, upload) {
        const numbers = await takeIn(tx, grant.projectId, upload, newBytes);
        if (newBytes > 0 && numbers.usedBytes + newBytes > numbers.limitBytes) throw quotaExceeded(grant, numbers);
      },
      reserve: (grant, upload, sizeBytes, until) =>
        database.transaction(async (tx) => {
          const numbers = { ...(await takeIn(tx, grant.projectId, upload, 0)), newBytes: sizeBytes };
          if (numbers.usedBytes + sizeBytes > numbers.limitBytes) throw quotaExceeded(grant, numbers);
          await tx.run(reserve, { upload, projectId: grant.projectId, bytes: sizeBytes, until }, 1);
        }),
      release: async (_grant, upload) => void (await database.write(release, { upload })),
    },
    limit: async (projectId, limitBytes) => void (await database.write(put, { projectId, limit: limitBytes })),
    used: async (projectId) => (await database.first(find, { projectId }))?.used_bytes ?? 0,
    reservations: async () => Number((await database.first(countReservations, {}))?.count),
  };
}

/** The fake: no write may exceed the limit; it remembers nothing. */
export async function fakeLedger(): Promise<TestLedger> {
  let limitBytes = 0;
  return {
    ledger: {
      trait: quotaTrait,
      async take(_tx, grant, newBytes) {
        if (newBytes > limitBytes) throw quotaExceeded(grant, { limitBytes, usedBytes: 0, newBytes });
      },
      async reserve(grant, _upload, sizeBytes) {
        if (sizeBytes > limitBytes) throw quotaExceeded(grant, { limitBytes, usedBytes: 0, newBytes: sizeBytes });
      },
      release: async () => undefined,
    },
    limit: async (_projectId, bytes) => void (limitBytes = bytes),
    used: async () => 0,
    reservations: async () => 0,
  };
}
