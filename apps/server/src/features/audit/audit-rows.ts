// Records as the database has them, in both directions. Not here: which are asked for (audit-list-store.ts), their meaning (audit-entries.ts).
import { sql } from "kysely";
import type { DialectName } from "../../platform/database/statement.ts";
import type { AuditRecord } from "./audit-chain.ts";
import type { AuditOutcome } from "./audit-entries.ts";
import type { Actor } from "../../access/actor.ts";

/** The columns of a record, in the order of `valuesOf` (audit-chain.ts). */
export const RECORD_COLUMNS = [
  "id",
  "at",
  "action",
  "outcome",
  "actor_kind",
  "actor_id",
  "actor",
  "via",
  "address",
  "request",
  "project_id",
  "project",
  "repository",
  "reference",
  "digest",
  "account",
  "times",
  "state_before",
  "state_after",
] as const;

const NUMBERS: ReadonlySet<string> = new Set(["id", "at", "actor_id", "project_id", "times"]);

/** A row as a query gives it. */
export interface AuditRow {
  readonly id: number;
  readonly at: number;
  readonly action: string;
  readonly outcome: AuditOutcome;
  readonly actor_kind: string;
  readonly actor_id: number | null;
  readonly actor: string;
  readonly via: string | null;
  readonly address: string | null;
  readonly request: string | null;
  readonly project_id: number | null;
  readonly project: string | null;
  readonly repository: string | null;
  readonly reference: string | null;
  readonly digest: string | null;
  readonly account: string | null;
  readonly times: number;
  readonly state_before: string | null;
  readonly state_after: string | null;
}

/** The record of a row. */
export function recordOf(row: AuditRow): AuditRecord {
  return {
    id: row.id,
    at: row.at,
    action: row.action,
    outcome: row.outcome,
    actorKind: row.actor_kind as Actor["kind"],
    actorId: row.actor_id,
    actor: row.actor,
    via: row.via,
    address: row.address,
    requestId: row.request,
    projectId: row.project_id,
    project: row.project,
    repository: row.repository,
    reference: row.reference,
    digest: row.digest,
    account: row.account,
    times: row.times,
    before: row.state_before,
    after: row.state_after,
  };
}

/** Rows out of one JSON text, a list of lists of values in the order of the columns: one parameter, however many rows. */
export function rowsOfJson(dialect: DialectName, json: unknown) {
  if (dialect === "sqlite") {
    const columns = RECORD_COLUMNS.map((_, at) => sql`json_extract(value, ${sql.lit(`$[${at}]`)})`);
    return sql<AuditRow>`select ${sql.join(columns)} from json_each(${json})`;
  }
  const columns = RECORD_COLUMNS.map((name, at) =>
    NUMBERS.has(name) ? sql`(value ->> ${sql.lit(at)})::bigint` : sql`value ->> ${sql.lit(at)}`,
  );
  return sql<AuditRow>`select ${sql.join(columns)} from json_array_elements(${json}::json)`;
}
