// The chain that proves the audit log. Each record's hash is made of the one before it and of the record; a segment is a run of records whose last
// hash is signed, with where it begins and ends and the hash of the segment before: its checkpoint. So whoever changes, takes out, adds or moves a record
// without the key breaks a hash, and who cuts off the end contradicts a checkpoint that was written elsewhere. Pure.
// Not here: who seals (audit-sealing.ts), who verifies (audit-verification.ts), the keys (audit-keys.ts).
import { hash as hashOf, type KeyObject, sign, verify } from "node:crypto";
import type { AuditEntry } from "./audit-entries.ts";

/** A record: an entry with its number. */
export interface AuditRecord extends AuditEntry {
  readonly id: number;
}

/** What is signed of a segment. */
export interface SegmentHeader {
  /** From 1 on. */
  readonly number: number;
  readonly firstId: number;
  /** One less than the first while there is no record. */
  readonly lastId: number;
  /** The hash of the segment before; `GENESIS` for the first. */
  readonly previous: string;
  /** The hash of the last record. */
  readonly hash: string;
  /** When records were first put in it, in milliseconds since 1970. */
  readonly openedAt: number;
  /** Null while records are put in it. */
  readonly sealedAt: number | null;
  readonly signedAt: number;
}

/** A segment's signed state. */
export interface Checkpoint extends SegmentHeader {
  readonly keyId: string;
  /** Base64url. */
  readonly signature: string;
}

/** What the first segment follows. */
export const GENESIS = "0".repeat(64);

/** A record's values, in this order for ever: that of the columns, and of what is hashed. */
export function valuesOf(record: AuditRecord): readonly (string | number | null)[] {
  return [
    record.id,
    record.at,
    record.action,
    record.outcome,
    record.actorKind,
    record.actorId,
    record.actor,
    record.via,
    record.address,
    record.requestId,
    record.projectId,
    record.project,
    record.repository,
    record.reference,
    record.digest,
    record.account,
    record.times,
    record.before,
    record.after,
  ];
}

/** The hash of a record, which follows one. */
export function hashRecord(previous: string, record: AuditRecord): string {
  return hashOf("sha256", `${previous}\n${JSON.stringify(valuesOf(record))}`, "hex");
}

/** The hash that a segment begins with: it binds its number, its first record and the segment before. */
export function hashOpening({ number, firstId, previous }: Pick<SegmentHeader, "number" | "firstId" | "previous">): string {
  return hashOf("sha256", `berth audit segment v1\n${JSON.stringify([number, firstId, previous])}`, "hex");
}

/** What is signed of a segment. */
function messageOf({ number, firstId, lastId, previous, hash, openedAt, sealedAt, signedAt }: SegmentHeader): Buffer {
  return Buffer.from(
    `berth audit checkpoint v1\n${JSON.stringify([number, firstId, lastId, previous, hash, openedAt, sealedAt, signedAt])}`,
  );
}

/** The hash of a sealed segment, which the next one names. */
export function hashSegment(header: SegmentHeader): string {
  return hashOf("sha256", messageOf(header), "hex");
}

/** Signs a segment. */
export function signSegment(
  header: SegmentHeader,
  { id, privateKey }: { readonly id: string; readonly privateKey: KeyObject },
): Checkpoint {
  return { ...header, keyId: id, signature: sign(null, messageOf(header), privateKey).toString("base64url") };
}

/** Whether a checkpoint was signed with that key. */
export function isSignedBy(checkpoint: Checkpoint, publicKey: KeyObject): boolean {
  return verify(null, messageOf(checkpoint), publicKey, Buffer.from(checkpoint.signature, "base64url"));
}
