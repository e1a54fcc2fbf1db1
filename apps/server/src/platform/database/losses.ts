// Finds out what migrating back would lose before anything is changed: a description for every step, and whether content is there that
// cannot be recreated. Not here: the migration (migrate.ts), the confirmation (roles/migrate.ts).
import type { Database } from "./database.ts";
import { listAppliedSteps } from "./migrate.ts";
import { migrations } from "./migrations/all.ts";
import type { Migration } from "./migrations/migration.ts";

/** The loss of taking back one step. */
export interface StepLoss {
  readonly id: number;
  readonly name: string;
  readonly what: string;
  /** Tables and columns with content that would be lost for good. */
  readonly destroyed: readonly string[];
}

/** The losses of migrating back from version `from` to `to`, in order. Reads at most one row of each table. */
export async function findLosses(
  database: Database,
  from: number,
  to: number,
  steps: readonly Migration[] = migrations,
): Promise<readonly StepLoss[]> {
  const losses: StepLoss[] = [];
  const applied = new Set(await listAppliedSteps(database));
  const back = steps.filter(({ id }) => id > to && id <= from && applied.has(id)).toSorted((one, other) => other.id - one.id);
  for (const { id, name, loses } of back) {
    const destroyed: string[] = [];
    for (const place of loses.content) if (await hasContent(database, place)) destroyed.push(place);
    losses.push({ id, name, what: loses.what, destroyed });
  }
  return losses;
}

/** Whether a table, or `table.column`, has content. The names are those of our own migrations. */
function hasContent(database: Database, place: string): Promise<boolean> {
  const [table = "", column] = place.split(".");
  return database.session(async (run) => {
    const rows = await run(`select 1 as one from "${table}"${column === undefined ? "" : ` where "${column}" is not null`} limit 1`);
    return rows.length > 0;
  });
}

/** Counts other connections of this program to a shared database: usually servers. An embedded database is locked, so it has none. */
export function countOtherConnections(database: Database): Promise<number> {
  if (database.dialect === "sqlite") return Promise.resolve(0);
  return database.session(async (run) => {
    const [row] = await run(
      "select count(*) as count from pg_stat_activity where datname = current_database() and application_name = 'berth' and pid <> pg_backend_pid()",
    );
    return Number(row?.["count"] ?? 0);
  });
}
