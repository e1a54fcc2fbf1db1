// The audit log: what waits to be put on record, the records in their order, the segments that prove them, and who records. Not here: what is in
// them (features/audit).
import type { Migration } from "./migration.ts";

export const audit: Migration = {
  id: 20261126074731,
  name: "audit/log",
  oldestProgram: 3,
  keptTables: ["audit_pending", "audit_record", "audit_segment", "audit_key", "audit_writer"],
  loses: { what: "nothing that is stored, but what older programs do is not put on record", content: [] },
  up: ({ id, integer, text, clustered }) => [
    `create table if not exists audit_pending (
      id ${id},
      at ${integer} not null,
      actor ${text},
      changes ${text} not null
    )`,
    `create table if not exists audit_record (
      id ${integer} not null primary key,
      at ${integer} not null,
      action ${text} not null,
      outcome ${text} not null check (outcome in ('done', 'refused', 'failed')),
      actor_kind ${text} not null,
      actor_id ${integer},
      actor ${text} not null,
      via ${text},
      address ${text},
      request ${text},
      project_id ${integer},
      project ${text},
      repository ${text},
      reference ${text},
      digest ${text},
      account ${text},
      times ${integer} not null,
      state_before ${text},
      state_after ${text}
    )`,
    "create index if not exists audit_record_by_project on audit_record (project, id) where project is not null",
    "create index if not exists audit_record_by_repository on audit_record (repository, id) where repository is not null",
    "create index if not exists audit_record_by_actor on audit_record (actor, id)",
    "create index if not exists audit_record_by_account on audit_record (account, id) where account is not null",
    "create index if not exists audit_record_by_action on audit_record (action, id)",
    "create index if not exists audit_record_by_address on audit_record (address, id) where address is not null",
    "create index if not exists audit_record_by_request on audit_record (request, id) where request is not null",
    "create index if not exists audit_record_by_digest on audit_record (digest, id) where digest is not null",
    `create table if not exists audit_segment (
      number ${integer} not null primary key,
      first_record ${integer} not null,
      last_record ${integer} not null,
      min_at ${integer},
      max_at ${integer},
      previous ${text} not null,
      hash ${text} not null,
      opened_at ${integer} not null,
      sealed_at ${integer},
      signed_at ${integer} not null,
      signed_by ${text} not null,
      signature ${text} not null,
      dropped_at ${integer}
    )${clustered}`,
    `create table if not exists audit_key (
      id ${text} not null primary key,
      private_key ${text} not null,
      public_key ${text} not null,
      created_at ${integer} not null
    )${clustered}`,
    `create table if not exists audit_writer (
      id ${text} not null primary key,
      host ${text} not null,
      started_at ${integer} not null,
      seen_at ${integer} not null,
      batches ${integer} not null
    )${clustered}`,
  ],
  // The log stays: no older program knows the tables, and what was put on record is to be proven when this one comes back.
  down: () => [],
};
