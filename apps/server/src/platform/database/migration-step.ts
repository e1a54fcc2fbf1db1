// One step of a migration: its indexes, then its statements and its record in one transaction. On PostgreSQL other sessions continue to
// read and write: indexes are built ahead, and a lock that is not available at once is given up and tried again. Not here: choosing the
// step (migrate.ts).
import { setTimeout as sleep } from "node:timers/promises";
import type { Database, RunSql } from "./database.ts";
import type { ColumnTypes, KeptColumn, OnlineIndex } from "./migrations/migration.ts";
import type { DialectName } from "./statement.ts";

/** The step's work. */
export interface MigrationStep {
  /** The steps that the database must have had, in the order of their ids. */
  readonly from: readonly number[];
  readonly indexes: readonly OnlineIndex[];
  /** Missing ones are added. */
  readonly columns: readonly KeptColumn[];
  readonly types: ColumnTypes;
  /** The record comes first, so that all but one of several programs that run the same step at once fail on it. */
  readonly statements: readonly string[];
  /** No program uses the database yet, so indexes need not be built ahead. */
  readonly isNew: boolean;
}

/** Runs the step while holding the migration lock; false if other steps were applied in the meantime. */
export async function takeStep(database: Database, step: MigrationStep): Promise<boolean> {
  const isShared = database.dialect === "postgres";
  return database.session(async (run) => {
    if (isShared) await waitForLock(run);
    // Checked again, because another replica may just have applied it.
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

/** The key of PostgreSQL's advisory lock for migrations. */
const TURN = 0x62657274; // "bert"
/** The interval at which the lock is tried. */
const TURN_MS = 250;

/**
 * Waits until no other replica migrates. It polls, because the build of an index waits for every session that waits inside the database.
 */
async function waitForLock(run: RunSql): Promise<void> {
  while ((await run(`select pg_try_advisory_lock(${TURN}) as is_ours`))[0]?.["is_ours"] !== true) await sleep(TURN_MS);
}

/**
 * The longest wait for one table's lock, in ms, because other sessions queue behind us. A step locks a handful of tables at most, so that
 * nobody waits for a second. It is shorter than the second after which PostgreSQL's autovacuum gives way, so its work on such a table is
 * waited for.
 */
const LOCK_WAIT_MS = 150;
/** The pause before the locks are tried again, for the sessions that queued behind us. */
const LOCK_RETRY_MS = 500;
const LOCK_NOT_AVAILABLE = "55P03";

/** Commits all of it in one transaction; false, with nothing changed, if a lock was not available in time. */
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

/** Builds an index under a temporary name, or keeps the one that an interrupted run has finished. */
async function buildAhead(run: RunSql, index: OnlineIndex): Promise<void> {
  const name = nextName(index);
  const [found] = await run(`select indisvalid from pg_index where indexrelid = to_regclass('${name}')`);
  if (found?.["indisvalid"] === true) return;
  // The build was interrupted: an invalid index is useless, and slows down writes.
  if (found !== undefined) await run(`drop index concurrently ${name}`);
  await run(`create index concurrently ${name} on ${index.on}`);
}
