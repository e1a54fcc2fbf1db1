// What a restore asks of the database that it fills: whether it is empty, the mark of a restore in progress, and rows.
// Not here: the order of things (restore.ts).
import { sql } from "kysely";
import type { Database, Executor } from "../../platform/database/database.ts";
import { findMigrationVersion } from "../../platform/database/migrate.ts";
import { statement } from "../../platform/database/statement.ts";
import { listTables } from "../../platform/database/tables.ts";
import { StartupError } from "../../platform/startup-error.ts";

/** The row of `job_lease` that stands while a database is half restored. */
const MARK = "restore";

const findMark = statement<Record<never, never>>()("restore.findMark", (db) =>
  db.selectFrom("job_lease").select("holder").where("name", "=", MARK),
);

const putMark = statement<{ holder: string; now: number }>()("restore.putMark", (db, p) =>
  db.insertInto("job_lease").values({ name: MARK, holder: p.holder, fence: 1, expires_at: p.now }),
);

const dropMark = statement<Record<never, never>>()("restore.dropMark", (db) => db.deleteFrom("job_lease").where("name", "=", MARK));

/** What the names of rows of `job_lease` begin with that say how far a table is filled: their `fence` rows. */
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

/** Which restore has begun on a database and not ended, or undefined. The tables must be there. */
export async function findRestoreMark(executor: Executor): Promise<string | undefined> {
  return (await executor.first(findMark, {}))?.holder;
}

/** Marks an empty database as half restored, so that no server starts on it. */
export async function putRestoreMark(database: Database, holder: string, now: number): Promise<void> {
  // It fails where there is one.
  await database.write(putMark, { holder, now });
}

/** Takes the mark away, and the word of what was filled, with the transaction that completes the restore. */
export async function dropRestoreMark(tx: Executor): Promise<void> {
  await tx.run(dropMark, {}, 1);
  await tx.run(dropFillings, {}, { any: "a table without rows has none" });
}

/** How far a table was filled. */
export interface Filling {
  readonly rows: number;
  /** Of these rows, as the restore makes it. */
  readonly digest: string;
}

/** How far a table has been filled by a restore that has not ended. */
export async function findFilling(executor: Executor, table: string): Promise<Filling> {
  const row = await executor.first(findOneFilling, { name: `${FILLING}${table}` });
  return row === undefined ? { rows: 0, digest: "" } : { rows: row.fence, digest: row.holder };
}

/** Writes down how far a table is filled, with the transaction that fills it so far. */
export async function noteFilling(tx: Executor, table: string, { rows, digest }: Filling): Promise<void> {
  await tx.run(putFilling, { name: `${FILLING}${table}`, digest, rows }, 1);
}

/** Whether a blob's row was restored already. Errors: `StartupError` where another blob's was under its id. */
export async function hasBlob(executor: Executor, { id, digest }: { readonly id: number; readonly digest: string }): Promise<boolean> {
  const row = await executor.first(findBlob, { id });
  if (row === undefined || row.digest === digest) return row !== undefined;
  throw new StartupError(
    `blob ${id} is in as ${row.digest}, and ${digest} in the backup, which read otherwise then: empty database and store, and restore again`,
  );
}

/** Those of the keys that some blob has. */
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

/** Keeps a server from starting on a database that is only half restored. Errors: `StartupError`. */
export async function refuseHalfRestored(database: Database): Promise<void> {
  if ((await findMigrationVersion(database)) === 0) return;
  const mark = await findRestoreMark(database);
  if (mark === undefined) return;
  throw new StartupError(
    `The database is half restored (from snapshot ${mark.split(" ")[0]}). Run \`restore\` again with the same source: it goes on where it stopped.`,
  );
}
