// How far the audit log was sent to others. Not here: sending (features/audit).
import type { Migration } from "./migration.ts";

export const auditForward: Migration = {
  id: 20261126115000,
  name: "audit/forward",
  oldestProgram: 3,
  loses: { what: "how far the audit log was sent to others: it is sent again from the beginning", content: ["audit_forward"] },
  up: ({ integer, text, clustered }) => [
    `create table audit_forward (target ${text} not null primary key, last_record ${integer} not null, moved_at ${integer} not null)${clustered}`,
  ],
  down: () => ["drop table audit_forward"],
};
