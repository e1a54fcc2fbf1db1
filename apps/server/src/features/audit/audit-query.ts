// Finding records: the filter that leaves the fewest leads by its index, and the rest is looked at row by row, so that a page costs the same whichever
// filters come together and however many records there are: it is short, and leads on, where a request has looked at enough.
// Not here: rules (audit.ts), reading all in order (audit-list-store.ts).
import type { Executor } from "../../platform/database/database.ts";
import { type Statement, statement } from "../../platform/database/statement.ts";
import type { AuditRecord } from "./audit-chain.ts";
import { type AuditRow, RECORD_COLUMNS, recordOf } from "./audit-rows.ts";

/** Which records; what is not given is any. */
export interface AuditFilter {
  readonly requestId?: string | undefined;
  readonly digest?: string | undefined;
  readonly account?: string | undefined;
  readonly repository?: string | undefined;
  readonly address?: string | undefined;
  readonly actor?: string | undefined;
  readonly project?: string | undefined;
  /** A project that may have had another one's name. */
  readonly projectId?: number | undefined;
  /** With `.*` at its end: all of a subject. */
  readonly action?: string | undefined;
  readonly outcome?: string | undefined;
  /** In milliseconds since 1970. */
  readonly from?: number | undefined;
  /** Not this one any more. */
  readonly to?: number | undefined;
}

/** The order of a list. */
export type AuditOrder = "newest" | "oldest";

/** Filters that have an index, the one first that most often leaves the fewest. */
const LEADING = ["requestId", "digest", "account", "repository", "address", "actor", "project", "action"] as const;
type Leading = (typeof LEADING)[number];
const COLUMN_OF: Readonly<Record<Leading, "request" | "digest" | "account" | "repository" | "address" | "actor" | "project" | "action">> = {
  requestId: "request",
  digest: "digest",
  account: "account",
  repository: "repository",
  address: "address",
  actor: "actor",
  project: "project",
  action: "action",
};

/** Records that one look reads where some of them are passed over, and looks of one request: tens of milliseconds. */
const LOOKED_AT = 1000;
const MAX_LOOKS = 10;

type Page = { low: number; high: number; limit: number };
const all = {
  newest: statement<Page>()("audit.listNewest", (db, p) =>
    db
      .selectFrom("audit_record")
      .select(RECORD_COLUMNS)
      .where("id", ">", p.low)
      .where("id", "<", p.high)
      .orderBy("id", "desc")
      .limit(p.limit),
  ),
  oldest: statement<Page>()("audit.listOldest", (db, p) =>
    db.selectFrom("audit_record").select(RECORD_COLUMNS).where("id", ">", p.low).where("id", "<", p.high).orderBy("id").limit(p.limit),
  ),
};
const by = Object.fromEntries(
  LEADING.map((name) => {
    const make = (order: AuditOrder) =>
      statement<Page & { value: string }>()(`audit.list.${name}.${order}`, (db, p) =>
        db
          .selectFrom("audit_record")
          .select(RECORD_COLUMNS)
          .where(COLUMN_OF[name], "=", p.value)
          .where("id", ">", p.low)
          .where("id", "<", p.high)
          .orderBy("id", order === "newest" ? "desc" : "asc")
          .limit(p.limit),
      );
    return [name, { newest: make("newest"), oldest: make("oldest") }];
  }),
) as unknown as Readonly<Record<Leading, Readonly<Record<AuditOrder, Statement<Page & { value: string }, AuditRow>>>>>;

// The records of a time lie between those of the segments that have any of it: they need no index of their own.
const bounds = statement<{ from: number; to: number }>()(
  "audit.findBounds",
  (db, p) =>
    db
      .selectFrom("audit_segment")
      .select(({ fn }) => [fn.min("first_record").as("low"), fn.max("last_record").as("high")])
      .where("max_at", ">=", p.from)
      .where("min_at", "<", p.to),
  { bounded: "a row for each hour, or each 10,000 records" },
);

/** What a request found: records, and where it goes on where there may be more. */
export interface FoundRecords {
  readonly records: readonly AuditRecord[];
  /** The last one that was looked at; undefined where nothing is behind it. */
  readonly stoppedAt: number | undefined;
}

/** Finds records behind a place, in an order; `after` undefined is from its beginning. At most `limit`, and fewer where it had to look at many. */
export async function findRecords(
  executor: Executor,
  filter: AuditFilter,
  { after, order, limit }: { readonly after: number | undefined; readonly order: AuditOrder; readonly limit: number },
): Promise<FoundRecords> {
  const isNewest = order === "newest";
  let low = 0;
  let high = Number.MAX_SAFE_INTEGER;
  if (filter.from !== undefined || filter.to !== undefined) {
    const range = await executor.first(bounds, { from: filter.from ?? 0, to: filter.to ?? Number.MAX_SAFE_INTEGER });
    low = Number(range?.low ?? 1) - 1;
    high = Number(range?.high ?? 0) + 1;
  }
  if (after !== undefined && isNewest) high = Math.min(high, after);
  if (after !== undefined && !isNewest) low = Math.max(low, after);
  const leading = LEADING.find((name) => filter[name] !== undefined && !(name === "action" && filter.action!.endsWith(".*")));
  const isShown = restOf(filter, leading);
  const size = isShown === undefined ? limit + 1 : LOOKED_AT;
  const found: AuditRecord[] = [];
  for (let looks = 1; ; looks++) {
    const page = { low, high, limit: size };
    const rows =
      leading === undefined
        ? await executor.all(all[order], page)
        : await executor.all(by[leading][order], { ...page, value: filter[leading]! });
    for (const row of rows) {
      const record = recordOf(row);
      if (isShown?.(record) === false) continue;
      if (found.length === limit) return { records: found, stoppedAt: found.at(-1)!.id };
      found.push(record);
    }
    const last = rows.at(-1);
    if (last === undefined || rows.length < size) return { records: found, stoppedAt: undefined };
    if (looks === MAX_LOOKS) return { records: found, stoppedAt: last.id };
    if (isNewest) high = last.id;
    else low = last.id;
  }
}

/** What the leading filter does not see to; undefined where nothing is left. */
function restOf(filter: AuditFilter, leading: Leading | undefined): ((record: AuditRecord) => boolean) | undefined {
  const tests: ((record: AuditRecord) => boolean)[] = [];
  for (const name of LEADING) {
    const value = filter[name];
    if (value === undefined || name === leading) continue;
    const subject = name === "action" && value.endsWith(".*") ? value.slice(0, -1) : undefined;
    tests.push(subject === undefined ? (record) => record[name] === value : (record) => record.action.startsWith(subject));
  }
  const { projectId, outcome, from, to } = filter;
  if (projectId !== undefined) tests.push((record) => record.projectId === projectId);
  if (outcome !== undefined) tests.push((record) => record.outcome === outcome);
  if (from !== undefined) tests.push(({ at }) => at >= from);
  if (to !== undefined) tests.push(({ at }) => at < to);
  return tests.length === 0 ? undefined : (record) => tests.every((test) => test(record));
}
