// One step of a migration: its indexes, then its statements and its record in one transaction. On PostgreSQL others read and write meanwhile:
// indexes are built ahead, and locks that are not to be had at once are given up and tried again. Not here: which step (migrate.ts).
import { setTimeout as sleep } from "node:timers/promises";
import type { Database, RunSql } from "./database.ts";
import type { ColumnTypes, KeptColumn, OnlineIndex } from "./migrations/migration.ts";
import type { DialectName } from "./statement.ts";

/** What is to be done. */
export interface MigrationStep {
  /** The steps that the database must have had, in the order of their ids. */
  readonly from: readonly number[];
  readonly indexes: readonly OnlineIndex[];
  /** Those of them that are missing are added. */
  readonly columns: readonly KeptColumn[];
  readonly types: ColumnTypes;
  /** The record first, so that of two programs that do the same step at once all but one fail on it. */
  readonly statements: readonly string[];
  /** Nobody works with the database yet: there is nothing to build around. */
  readonly isNew: boolean;
}

/** Does the step when it is this replica's turn; false where the database has had other steps by then. */
export async function takeStep(database: Database, step: MigrationStep): Promise<boolean> {
  const isShared = database.dialect === "postgres";
  return database.session(async (run) => {
    if (isShared) await waitForLock(run);
    // Looked at again: another replica may just have done it.
    const present = (await run("select id from migration order by id")).map((row) => Number(row["id"]));
    if (present.join() !== step.from.join()) return false;
    const statements = [...step.statements];
    for (const { table, name, type } of step.columns) {
      if (!(await hasColumn(run, database.dialect, table, name)))
        statements.push(`alter table ${table} add column ${name} ${type(step.types)}`);
    }
    for (const index of step.indexes) {
      const isAhead = isShared && !step.isNew;
      if (isAhead) await buildAhead(run, index);
      statements.push(
        `drop index if exists ${index.name}`,
        isAhead ? `alter index ${nextName(index)} rename to ${index.name}` : `create index ${index.name} on ${index.on}`,
      );
    }
    if (isShared) await run(`set lock_timeout = ${LOCK_WAIT_MS}`);
    while (!(await commitAtOnce(run, statements))) await sleep(LOCK_RETRY_MS);
    return true;
  });
}

async function hasColumn(run: RunSql, dialect: DialectName, table: string, name: string): Promise<boolean> {
  const rows = await run(
    dialect === "sqlite"
      ? `select 1 as one from pragma_table_info('${table}') where name = '${name}'`
      : `select 1 as one from pg_attribute where attrelid = to_regclass('${table}') and attname = '${name}' and not attisdropped`,
  );
  return rows.length > 0;
}

/** Names the turn among PostgreSQL's advisory locks. */
const TURN = 0x62657274; // "bert"
/** Between two looks whether it is our turn. */
const TURN_MS = 250;

/** Waits until no other replica migrates. It asks again and again, since the build of an index waits for whoever waits inside the database. */
async function waitForLock(run: RunSql): Promise<void> {
  while ((await run(`select pg_try_advisory_lock(${TURN}) as is_ours`))[0]?.["is_ours"] !== true) await sleep(TURN_MS);
}

/**
 * Longest wait for one table's lock, in ms: whoever comes after us waits behind us. A step takes a handful of tables at the most, so that
 * nobody waits for a second. Shorter than PostgreSQL's own second after which autovacuum gives way: its work on such a table is waited out.
 */
const LOCK_WAIT_MS = 150;
/** Pause before the locks are tried again: for those who waited behind us. */
const LOCK_RETRY_MS = 500;
const LOCK_NOT_AVAILABLE = "55P03";

/** All of it in one transaction; false, and nothing of it, where a lock was not to be had in time. */
async function commitAtOnce(run: RunSql, statements: readonly string[]): Promise<boolean> {
  await run("begin");
  try {
    for (const statement of statements) await run(statement);
  } catch (error) {
    if ((error as { code?: unknown }).code !== LOCK_NOT_AVAILABLE) throw error;
    await run("rollback");
    return false;
  }
  await run("commit");
  return true;
}

function nextName({ name }: OnlineIndex): string {
  return `${name}_next`;
}

/** Builds an index under its later name, or leaves the one that an interrupted run had finished. */
async function buildAhead(run: RunSql, index: OnlineIndex): Promise<void> {
  const name = nextName(index);
  const [found] = await run(`select indisvalid from pg_index where indexrelid = to_regclass('${name}')`);
  if (found?.["indisvalid"] === true) return;
  // Cut off in the middle: what is there is of no use, and slows writers down.
  if (found !== undefined) await run(`drop index concurrently ${name}`);
  await run(`create index concurrently ${name} on ${index.on}`);
}
