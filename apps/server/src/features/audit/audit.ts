// The audit log as auditors and those who keep a project see it: lists, exports, segments, and the proof that nobody changed it.
// Not here: finding records (audit-query.ts), the proof itself (audit-verification.ts).
import type { AuditRecordView, AuditSegmentView, AuditVerificationView } from "@berth/api/audit";
import { DEFAULT_PAGE_SIZE } from "@berth/api/limits";
import { RegistryError } from "@berth/oci/errors";
import type { AccountGrant, ProjectGrant } from "../../access/authorize.ts";
import type { Database } from "../../platform/database/database.ts";
import type { Listed, PageRequest } from "../paging.ts";
import { listAuditKeys } from "./audit-keys.ts";
import { type AuditFilter, type AuditOrder, findRecords } from "./audit-query.ts";
import { listSegments } from "./audit-segments.ts";
import { databaseSource } from "./audit-source.ts";
import { verifyAudit } from "./audit-verification.ts";
import { viewRecord } from "./audit-view.ts";

/** What the rules need. */
export interface AuditParts {
  readonly database: Database;
  /** Tells the registry's own keys from others. */
  readonly masterKey: Uint8Array;
}

/** Which records; times in RFC 3339. */
export interface AuditQuery extends Omit<AuditFilter, "from" | "to" | "projectId"> {
  readonly from?: string;
  readonly to?: string;
}

/** Which page of them. */
export interface AuditPageQuery extends AuditQuery, PageRequest {
  readonly order?: AuditOrder;
}

/** The rules, for whoever has the proof that he may. Their errors are those of the operations of the same name. */
export interface AuditLog {
  list(query: AuditPageQuery): Promise<Listed<AuditRecordView>>;
  listOfProject(grant: ProjectGrant, query: AuditPageQuery): Promise<Listed<AuditRecordView>>;
  /** All that fit, the oldest first; ends with what is there when it comes to the end. */
  export(grant: AccountGrant, query: AuditQuery & { readonly after?: string }): AsyncIterable<AuditRecordView>;
  segments(page: PageRequest): Promise<Listed<AuditSegmentView>>;
  verify(grant: AccountGrant, signal: AbortSignal): AsyncIterable<AuditVerificationView>;
}

/** Records that an export reads at a time. */
const EXPORTED = 500;

/** Makes the rules. */
export function createAuditLog({ database, masterKey }: AuditParts): AuditLog {
  async function list({ after, limit = DEFAULT_PAGE_SIZE, order = "newest", ...query }: AuditPageQuery, projectId?: number) {
    const place = { after: after === undefined ? undefined : parsePlace(after), order, limit };
    const { records, stoppedAt } = await findRecords(database, { ...filterOf(query), projectId }, place);
    return { items: records.map(viewRecord), next: stoppedAt === undefined ? null : String(stoppedAt) };
  }

  return {
    list: (query) => list(query),
    listOfProject: ({ projectId, projectName }, query) => list({ ...query, project: projectName }, projectId),
    async *export(grant, { after, ...query }) {
      const filter = filterOf(query);
      let place = after === undefined ? 0 : Number(after);
      for (let { renew } = grant; ; { renew } = await renew()) {
        const { records, stoppedAt } = await findRecords(database, filter, { after: place, order: "oldest", limit: EXPORTED });
        for (const record of records) yield viewRecord(record);
        if (stoppedAt === undefined) return;
        place = stoppedAt;
      }
    },
    async segments({ after, limit = DEFAULT_PAGE_SIZE }) {
      const keys = new Map((await listAuditKeys(database, undefined)).map(({ id, pem }) => [id, pem]));
      const rows = await listSegments(database, after === undefined ? 0 : parsePlace(after), limit + 1);
      const items = rows.slice(0, limit).map(({ minAt: _, maxAt: __, ...row }) => ({
        ...row,
        openedAt: timeOf(row.openedAt),
        sealedAt: row.sealedAt === null ? null : timeOf(row.sealedAt),
        signedAt: timeOf(row.signedAt),
        droppedAt: row.droppedAt === null ? null : timeOf(row.droppedAt),
        publicKey: keys.get(row.keyId) ?? null,
      }));
      return { items, next: rows.length > limit ? String(items.at(-1)!.number) : null };
    },
    async *verify(grant, signal) {
      const keys = await listAuditKeys(database, masterKey);
      let { renew } = grant;
      for await (const progress of verifyAudit({ source: databaseSource(database), keys })) {
        yield { ...progress, problems: [...progress.problems] };
        if (signal.aborted) return;
        ({ renew } = await renew());
      }
    },
  };
}

function filterOf({ from, to, ...query }: AuditQuery): AuditFilter {
  return { ...query, from: from === undefined ? undefined : Date.parse(from), to: to === undefined ? undefined : Date.parse(to) };
}

/** Errors: PAGE_INVALID for what is no `next`. */
function parsePlace(after: string): number {
  if (!/^\d{1,15}$/.test(after)) throw new RegistryError("PAGE_INVALID");
  return Number(after);
}

function timeOf(ms: number): string {
  return new Date(ms).toISOString();
}
