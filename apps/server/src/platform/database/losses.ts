// What a way back over steps would take away, found out before anything is: in words for every step, and whether content is there that
// nothing can make anew. Not here: going (migrate.ts), who is asked (roles/migrate.ts).
import type { Database } from "./database.ts";
import { listAppliedSteps } from "./migrate.ts";
import { migrations } from "./migrations/all.ts";
import type { Migration } from "./migrations/migration.ts";

/** What the way back over one step loses. */
export interface StepLoss {
  readonly id: number;
  readonly name: string;
  readonly what: string;
  /** Tables and columns with content that would be gone for good. */
  readonly destroyed: readonly string[];
}

/** What going back from version `from` to `to` loses, in the order in which it goes. Reads a row of each table at most. */
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

/** Whether a table, or `table.column`, holds anything. The names are those of our own migrations. */
function hasContent(database: Database, place: string): Promise<boolean> {
  const [table = "", column] = place.split(".");
  return database.session(async (run) => {
    const rows = await run(`select 1 as one from "${table}"${column === undefined ? "" : ` where "${column}" is not null`} limit 1`);
    return rows.length > 0;
  });
}

/** Other connections of this program to a database that many may use: servers, as a rule. None to an embedded one, which is locked. */
export function countOtherConnections(database: Database): Promise<number> {
  if (database.dialect === "sqlite") return Promise.resolve(0);
  return database.session(async (run) => {
    const [row] = await run(
      "select count(*) as count from pg_stat_activity where datname = current_database() and application_name = 'berth' and pid <> pg_backend_pid()",
    );
    return Number(row?.["count"] ?? 0);
  });
}
