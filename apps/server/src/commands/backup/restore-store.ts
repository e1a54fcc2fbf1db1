// The statements of a restore on its target database: whether it is empty, the mark of a running restore, and rows. Not here: the order of
// the steps (restore.ts).
import { sql } from "kysely";
import type { Database, Executor } from "../../platform/database/database.ts";
import { findMigrationVersion } from "../../platform/database/migrate.ts";
import { statement } from "../../platform/database/statement.ts";
import { listTables } from "../../platform/database/tables.ts";
import { StartupError } from "../../platform/startup-error.ts";

/** The row of `job_lease` that exists while a database is half restored. */
const MARK = "restore";

const findMark = statement<Record<never, never>>()("restore.findMark", (db) =>
  db.selectFrom("job_lease").select("holder").where("name", "=", MARK),
);

const putMark = statement<{ holder: string; now: number }>()("restore.putMark", (db, p) =>
  db.insertInto("job_lease").values({ name: MARK, holder: p.holder, fence: 1, expires_at: p.now }),
);

const dropMark = statement<Record<never, never>>()("restore.dropMark", (db) => db.deleteFrom("job_lease").where("name", "=", MARK));

/** The prefix of rows in `job_lease` that record how far a table is filled: their `fence` counts rows. */
const FILLING = "restore ";

const findOneFilling = statement<{ name: string }>()("restore.findFilling", (db, p) =>
  db.selectFrom("job_lease").select(["holder", "fence"]).where("name", "=", p.name),
);

const putFilling = statement<{ name: string; digest: string; rows: number }>()("restore.putFilling", (db, p) =>
  db
    .insertInto("job_lease")
    .values({ name: p.name, holder: p.digest, fence: p.rows, expires_at: 0 })
    .onConflict((conflict) =>
      conflict.column("name").doUpdateSet((eb) => ({ holder: eb.ref("excluded.holder"), fence: eb.ref("excluded.fence") })),
    ),
);

const dropFillings = statement<Record<never, never>>()("restore.dropFillings", (db) =>
  db.deleteFrom("job_lease").where("name", ">=", FILLING).where("name", "<", "restore!"),
);

const findBlob = statement<{ id: number }>()("restore.findBlob", (db, p) => db.selectFrom("blob").select("digest").where("id", "=", p.id));

const listBoundKeys = statement<{ keys: string[] }>()("restore.listBoundKeys", (db, p, tools) =>
  db
    .selectFrom("blob")
    .select("storage_key")
    .where("storage_key", "is not", null)
    .where(({ ref }) => tools.inList(ref("storage_key"), p.keys, "text")),
);

/** The restore that has begun on a database and not ended, or undefined. The tables must exist. */
export async function findRestoreMark(executor: Executor): Promise<string | undefined> {
  return (await executor.first(findMark, {}))?.holder;
}

/** Marks an empty database as half restored, so that no server starts on it. */
export async function putRestoreMark(database: Database, holder: string, now: number): Promise<void> {
  // This fails if there is a mark.
  await database.write(putMark, { holder, now });
}

/** Deletes the mark and the records of filled tables, in the transaction that completes the restore. */
export async function dropRestoreMark(tx: Executor): Promise<void> {
  await tx.run(dropMark, {}, 1);
  await tx.run(dropFillings, {}, { any: "a table without rows has none" });
}

/** How far a table is filled. */
export interface Filling {
  readonly rows: number;
  /** Of these rows, in the form that the restore computes. */
  readonly digest: string;
}

/** How far an unfinished restore has filled a table. */
export async function findFilling(executor: Executor, table: string): Promise<Filling> {
  const row = await executor.first(findOneFilling, { name: `${FILLING}${table}` });
  return row === undefined ? { rows: 0, digest: "" } : { rows: row.fence, digest: row.holder };
}

/** Records how far a table is filled, in the transaction that fills it. */
export async function noteFilling(tx: Executor, table: string, { rows, digest }: Filling): Promise<void> {
  await tx.run(putFilling, { name: `${FILLING}${table}`, digest, rows }, 1);
}

/** Whether a blob's row was restored already. Errors: `StartupError` if its id belongs to another blob. */
export async function hasBlob(executor: Executor, { id, digest }: { readonly id: number; readonly digest: string }): Promise<boolean> {
  const row = await executor.first(findBlob, { id });
  if (row === undefined || row.digest === digest) return row !== undefined;
  throw new StartupError(
    `blob ${id} is in as ${row.digest}, and ${digest} in the backup, which read otherwise then: empty database and store, and restore again`,
  );
}

/** Those of the keys that a blob uses. */
export async function listBound(executor: Executor, keys: string[]): Promise<ReadonlySet<string>> {
  return new Set((await executor.all(listBoundKeys, { keys })).map((row) => row.storage_key!));
}

/** The first table that has a row, or undefined. The record of migrations does not count. */
export async function findFilledTable(executor: Executor): Promise<string | undefined> {
  for (const { name } of await listTables(executor)) {
    if (name === "migration") continue;
    const any = statement<Record<never, never>>()<{ one: number }>(`restore.any.${name}`, (db) => ({
      compile: () => sql<{ one: number }>`select 1 as one from ${sql.table(name)} limit 1`.compile(db),
    }));
    if ((await executor.first(any, {})) !== undefined) return name;
  }
  return undefined;
}

/** Keeps a server from starting on a half restored database. Errors: `StartupError`. */
export async function refuseHalfRestored(database: Database): Promise<void> {
  if ((await findMigrationVersion(database)) === 0) return;
  const mark = await findRestoreMark(database);
  if (mark === undefined) return;
  throw new StartupError(
    `The database is half restored (from snapshot ${mark.split(" ")[0]}). Run \`restore\` again with the same source: it goes on where it stopped.`,
  );
}
