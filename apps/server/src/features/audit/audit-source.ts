// The audit log in the database, for who verifies it. Not here: verifying (audit-verification.ts).
import type { Executor } from "../../platform/database/database.ts";
import { listRecordsAfter } from "./audit-list-store.ts";
import { listSegments } from "./audit-segments.ts";
import type { AuditSource } from "./audit-verification.ts";

/** Read at a time: a second of work for nobody else. */
const SEGMENTS = 100;
const RECORDS = 1000;

/** The log of a database. */
export function databaseSource(executor: Executor): AuditSource {
  return {
    segments: (after) => listSegments(executor, after, SEGMENTS),
    records: (after, through) => listRecordsAfter(executor, after, RECORDS, through),
  };
}
