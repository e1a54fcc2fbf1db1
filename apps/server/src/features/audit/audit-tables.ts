// The tables of the audit log. Not here: the statements (audit-sink.ts, audit-sealing.ts, audit-list-store.ts).
import { defineTables, id, integer, names, nullable, text, word, type RowsOf } from "../../platform/database/table.ts";

/** How what was tried ended. */
export const AUDIT_OUTCOMES = ["done", "refused", "failed"] as const;

export const auditTables = defineTables({
  /** What happened, from the commit that did it until it is put on record a moment later. No index, so that a push pays next to nothing. */
  audit_pending: {
    columns: {
      id: id(),
      at: integer(),
      /** Who did it, as JSON; null where each of the changes says it itself. */
      actor: nullable(text()),
      /** JSON: a list of changes, or of records without their numbers. */
      changes: text(),
    },
    key: ["id"],
    backup: "kept",
  },
  /** The records, numbered without a gap in the order in which they were put on record. */
  audit_record: {
    columns: {
      id: integer(),
      at: integer(),
      /** As `subject.verb`: "tag.moved". */
      action: text(),
      outcome: word("outcome", AUDIT_OUTCOMES),
      actor_kind: text(),
      actor_id: nullable(names("account", "stays")),
      /** The login name; empty for anonymous. */
      actor: text(),
      /** How the actor signed in. */
      via: nullable(text()),
      address: nullable(text()),
      request: nullable(text()),
      project_id: nullable(names("project", "stays")),
      project: nullable(text()),
      repository: nullable(text()),
      /** A tag, or what else was named. */
      reference: nullable(text()),
      digest: nullable(text()),
      /** The account to which it was done, by its login name. */
      account: nullable(text()),
      /** How often, where many alike are one record. */
      times: integer(),
      /** JSON. */
      state_before: nullable(text()),
      state_after: nullable(text()),
    },
    key: ["id"],
    indexes: {
      audit_record_by_project: "(project, id) where project is not null",
      audit_record_by_repository: "(repository, id) where repository is not null",
      audit_record_by_actor: "(actor, id)",
      audit_record_by_account: "(account, id) where account is not null",
      audit_record_by_action: "(action, id)",
      audit_record_by_address: "(address, id) where address is not null",
      audit_record_by_request: "(request, id) where request is not null",
      audit_record_by_digest: "(digest, id) where digest is not null",
    },
    backup: "kept",
  },
  /** What proves a run of records: one in which records are still put, and those before it. */
  audit_segment: {
    columns: {
      number: integer(),
      first_record: integer(),
      /** One less than the first while there is none. */
      last_record: integer(),
      min_at: nullable(integer()),
      max_at: nullable(integer()),
      /** The hash of the checkpoint of the segment before. */
      previous: text(),
      hash: text(),
      opened_at: integer(),
      /** Null while records are put in it. */
      sealed_at: nullable(integer()),
      signed_at: integer(),
      signed_by: text(),
      signature: text(),
      /** When its records were deleted, since they were old enough. */
      dropped_at: nullable(integer()),
    },
    key: ["number"],
    isClustered: true,
    backup: "kept",
  },
  /** The keys that checkpoints are signed with. */
  audit_key: {
    columns: { id: text(), /** Sealed. */ private_key: text(), /** SPKI, PEM. */ public_key: text(), created_at: integer() },
    key: ["id"],
    isClustered: true,
    // Checkpoints stay provable without the secret key that seals the private half.
    backup: "kept",
  },
  /** How far the log was sent to each target. */
  audit_forward: {
    columns: { target: text(), last_record: integer(), moved_at: integer() },
    key: ["target"],
    isClustered: true,
    backup: "kept",
  },
  /** Processes that count in memory what they put on record: one that is here and works no more has lost its last second. */
  audit_writer: {
    columns: { id: text(), host: text(), started_at: integer(), seen_at: integer(), batches: integer() },
    key: ["id"],
    isClustered: true,
    backup: "left out",
  },
});

declare module "../../platform/database/schema.ts" {
  interface Schema extends RowsOf<typeof auditTables> {}
}
