// The operations on the audit log, joined to their rules. Not here: the rules (audit.ts).
import * as operations from "@berth/api/audit";
import { type ApiRoute, route } from "../api-route.ts";
import type { AuditLog } from "./audit.ts";

/** The routes of the audit log. */
export function auditRoutes(audit: AuditLog): ApiRoute[] {
  return [
    route(operations.listAudit, ({ query }) => audit.list(query)),
    route(operations.listProjectAudit, ({ query }, { grant }) => audit.listOfProject(grant, query)),
    route(operations.exportAudit, ({ query }, { grant }) => audit.export(grant, query)),
    route(operations.listAuditSegments, ({ query }) => audit.segments(query)),
    route(operations.verifyAudit, (_, { grant, signal }) => audit.verify(grant, signal)),
  ];
}
