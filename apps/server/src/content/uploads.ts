// Upload sessions as rows: their progress, and who may write to one now. Not here: bytes, hashing (distribution/upload-session.ts).
import { randomBytes, randomUUID } from "node:crypto";
import type { DigestAlgorithm } from "@berth/oci/digest";
import { RegistryError } from "@berth/oci/errors";
import type { Clock } from "../platform/clock.ts";
import { type Database, ON_FULL_DISK, type WriteOptions } from "../platform/database/database.ts";
import type { ExpressionBuilder } from "kysely";
import type { Schema } from "../platform/database/schema.ts";
import { statement } from "../platform/database/statement.ts";
import type { UploadRecord } from "./blobs/blob-store.ts";
import { type GrantedRepository, isLive, repositoryDeleted } from "./repositories.ts";

/** How long a writer holds a session without renewing: longer than any pause of a healthy process, shorter than a client waits. */
export const UPLOAD_LOCK_MS = 30_000;

/** How far the clocks of replicas may differ before a claim counts as one from before the clock was set back. */
const CLOCKS_DIFFER_MS = 60_000;

/** The expiry of a session that is being removed: it sorts before all others, and no claim accepts it. */
const ENDED = 0;

/** An upload session. */
export interface Upload {
  readonly id: string;
  readonly algorithm: DigestAlgorithm;
  readonly record: UploadRecord;
  readonly offsetBytes: number;
}

/** A session to which only this request may write. */
export interface ClaimedUpload extends Upload {
  readonly lockToken: string;
}

/**
 * An idle session that is ended without a claim: exactly in this state and while nobody writes to it, or not at all. Its row holds all its
 * bytes.
 */
export interface RestingUpload {
  readonly id: string;
  readonly record: UploadRecord;
  readonly offsetBytes: number;
}

/** The upload sessions of repositories. */
export interface Uploads {
  begin(
    repository: GrantedRepository<"push">,
    begin: { algorithm: DigestAlgorithm; record: (id: string) => UploadRecord },
  ): Promise<Upload>;
  /** Errors: BLOB_UPLOAD_UNKNOWN. */
  get(repository: GrantedRepository<"push">, id: string): Promise<Upload>;
  /**
   * Claims the session for one writer; `purpose` "to end" also works on a full disk. Errors: BLOB_UPLOAD_UNKNOWN, CONFLICT while another
   * writes.
   */
  claim(repository: GrantedRepository<"push">, id: string, purpose?: "to write" | "to end"): Promise<ClaimedUpload>;
  /** Renews a claim; false if it was lost. */
  renew(claimed: ClaimedUpload): Promise<boolean>;
  /** Records progress and releases the session. Errors: CONFLICT if the claim was lost: the written bytes are not part of it. */
  advance(claimed: ClaimedUpload, progress: { record: UploadRecord; offsetBytes: number }): Promise<Upload>;
  /** Records where the bytes of a last chunk are, and keeps the claim; false if it was lost. */
  record(claimed: ClaimedUpload, progress: { record: UploadRecord; offsetBytes: number }): Promise<boolean>;
  /** Releases the session unchanged. */
  release(claimed: ClaimedUpload): Promise<void>;
  /**
   * Ends a session for good before its bytes are removed: from now on nobody can claim or commit it, however long the removal takes. False
   * if the claim was lost. After a crash `endExpired` returns it again.
   */
  markEnded(claimed: ClaimedUpload): Promise<boolean>;
  /** Deletes the row of an ended session whose bytes are removed. */
  drop(claimed: ClaimedUpload): Promise<void>;
  /** Whether somebody may still write to the session or finish it. */
  isAlive(id: string): Promise<boolean>;
  /** Ends sessions past their age that nobody writes to, so that they can be removed. */
  endExpired(limit: number): Promise<ClaimedUpload[]>;
  /** How many sessions are open, counted up to `limit`. */
  countOpen(limit: number): Promise<number>;
}

const insert = statement<{
  id: string;
  repositoryId: number;
  accountId: number | null;
  algorithm: string;
  record: string;
  now: number;
  expiresAt: number;
}>()("uploads.insert", (db, p) =>
  db
    .insertInto("upload")
    .columns(["id", "repository_id", "account_id", "algorithm", "record", "offset_bytes", "started_at", "expires_at"])
    .expression((eb) =>
      eb
        .selectFrom("repository")
        .select(({ cast, lit, val }) => [
          cast<string>(val(p.id), "text").as("upload_id"),
          "repository.id",
          cast<number | null>(val(p.accountId), "bigint").as("account_id"),
          cast<string>(val(p.algorithm), "text").as("algorithm"),
          cast<string>(val(p.record), "text").as("record"),
          lit(0).as("offset_bytes"),
          cast<number>(val(p.now), "bigint").as("started_at"),
          cast<number>(val(p.expiresAt), "bigint").as("expires_at"),
        ])
        .where("repository.id", "=", p.repositoryId)
        .where(isLive),
    )
    .returning("id"),
);

const find = statement<{ id: string; repositoryId: number }>()("uploads.find", (db, p) =>
  db
    .selectFrom("upload")
    .select(["id", "algorithm", "record", "offset_bytes"])
    .where("id", "=", p.id)
    .where("repository_id", "=", p.repositoryId)
    .where("expires_at", ">", ENDED),
);

const findAlive = statement<{ id: string }>()("uploads.findAlive", (db, p) =>
  db.selectFrom("upload").select("id").where("id", "=", p.id).where("expires_at", ">", ENDED),
);

/**
 * The condition that nobody writes to a session: it is unclaimed, its writer has not renewed for too long, or the claim ends later than any
 * claim made by now could. In that case the clock has been set back, and a writer that is still there will renew, or learn that it has lost
 * the session.
 */
export function isFree(eb: ExpressionBuilder<Schema, "upload">, claims: Claims) {
  return eb.or([eb("lock_token", "is", null), eb("locked_until", "<", claims.now), eb("locked_until", ">", claims.latestEnd)]);
}

/** The values by which claims are judged: the present time, and the latest end of a claim made by then. */
export type Claims = { now: number; latestEnd: number };

/** How claims are judged at a time. */
export function claimsAt(now: number): Claims {
  return { now, latestEnd: now + UPLOAD_LOCK_MS + CLOCKS_DIFFER_MS };
}

const claim = statement<Claims & { id: string; repositoryId: number; token: string; until: number }>()("uploads.claim", (db, p) =>
  db
    .updateTable("upload")
    .set({ lock_token: p.token, locked_until: p.until })
    .where("id", "=", p.id)
    .where("repository_id", "=", p.repositoryId)
    .where("expires_at", ">", ENDED)
    .where((eb) => isFree(eb, p))
    .returning(["id", "algorithm", "record", "offset_bytes"]),
);

const renew = statement<{ id: string; token: string; until: number }>()("uploads.renew", (db, p) =>
  db.updateTable("upload").set({ locked_until: p.until }).where("id", "=", p.id).where("lock_token", "=", p.token).returning("id"),
);

const advance = statement<{ id: string; token: string; record: string; offset: number; expiresAt: number }>()("uploads.advance", (db, p) =>
  db
    .updateTable("upload")
    .set({ record: p.record, offset_bytes: p.offset, expires_at: p.expiresAt, lock_token: null, locked_until: null })
    .where("id", "=", p.id)
    .where("lock_token", "=", p.token)
    .returning("id"),
);

const record = statement<{ id: string; token: string; record: string; offset: number }>()("uploads.record", (db, p) =>
  db
    .updateTable("upload")
    .set({ record: p.record, offset_bytes: p.offset })
    .where("id", "=", p.id)
    .where("lock_token", "=", p.token)
    .returning("id"),
);

const release = statement<{ id: string; token: string }>()("uploads.release", (db, p) =>
  db.updateTable("upload").set({ lock_token: null, locked_until: null }).where("id", "=", p.id).where("lock_token", "=", p.token),
);

const markEnded = statement<{ id: string; token: string }>()("uploads.markEnded", (db, p) =>
  db.updateTable("upload").set({ expires_at: ENDED }).where("id", "=", p.id).where("lock_token", "=", p.token).returning("id"),
);

// Checks again what the list found: a writer may have continued the session meanwhile.
const endExpired = statement<Claims & { id: string; token: string; expiredBefore: number; until: number }>()(
  "uploads.endExpired",
  (db, p) =>
    db
      .updateTable("upload")
      .set({ lock_token: p.token, locked_until: p.until, expires_at: ENDED })
      .where("id", "=", p.id)
      .where("expires_at", "<", p.expiredBefore)
      .where((eb) => isFree(eb, p))
      .returning(["id", "algorithm", "record", "offset_bytes"]),
);

const drop = statement<{ id: string; token: string }>()("uploads.drop", (db, p) =>
  db.deleteFrom("upload").where("id", "=", p.id).where("lock_token", "=", p.token),
);

const listExpired = statement<Claims & { expiredBefore: number; limit: number }>()("uploads.expired", (db, p) =>
  db
    .selectFrom("upload")
    .select("id")
    .where("expires_at", "<", p.expiredBefore)
    .where((eb) => isFree(eb, p))
    .orderBy("expires_at")
    .limit(p.limit),
);

const listOpen = statement<{ now: number; limit: number }>()("uploads.open", (db, p) =>
  db.selectFrom("upload").select("expires_at").where("expires_at", ">", p.now).orderBy("expires_at").limit(p.limit),
);

/**
 * Creates the service for the upload sessions of a database; a session may be idle for `maxAgeMs` between requests. `judge` decides which
 * have been idle for too long; it may accept a step of the clock later.
 */
export function createUploads(database: Database, clock: Clock, maxAgeMs: number, judge: Clock = clock): Uploads {
  // No client was promised that a session's progress survives a power cut, so none of these waits for the disk.
  const eventual = { durable: false };
  const ending = { durable: false, usesReserve: true };
  const newToken = (): string => randomBytes(9).toString("base64url");
  async function tryClaim(repositoryId: number, id: string, options: WriteOptions): Promise<ClaimedUpload | undefined> {
    const now = clock.now();
    const token = newToken();
    const [row] = await database.write(claim, { id, repositoryId, token, ...claimsAt(now), until: now + UPLOAD_LOCK_MS }, options);
    return row === undefined ? undefined : { ...uploadOf(row), lockToken: token };
  }
  async function get(repositoryId: number, id: string): Promise<Upload> {
    const row = await database.first(find, { id, repositoryId });
    if (row === undefined) throw new RegistryError("BLOB_UPLOAD_UNKNOWN", { detail: { upload: id.slice(0, 100) } });
    return uploadOf(row);
  }
  return {
    async begin({ grant, id: repositoryId }, { algorithm, record: recordOf }) {
      const id = randomUUID();
      const initial = recordOf(id);
      const now = clock.now();
      const inserted = await database.write(
        insert,
        { id, repositoryId, accountId: grant.actor.accountId, algorithm, record: JSON.stringify(initial), now, expiresAt: now + maxAgeMs },
        eventual,
      );
      if (inserted.length === 0) throw repositoryDeleted();
      return { id, algorithm, record: initial, offsetBytes: 0 };
    },

    get: (repository, id) => get(repository.id, id),

    async claim({ id: repositoryId }, id, purpose) {
      const claimed = await tryClaim(repositoryId, id, purpose === "to end" ? ending : eventual);
      if (claimed !== undefined) return claimed;
      await get(repositoryId, id);
      throw new RegistryError("CONFLICT", { message: "another request is writing to this upload", headers: { "retry-after": "1" } });
    },

    renew: async (claimed) =>
      (await database.write(renew, { id: claimed.id, token: claimed.lockToken, until: clock.now() + UPLOAD_LOCK_MS }, eventual)).length > 0,

    async advance(claimed, { record, offsetBytes }) {
      const written = await database.write(
        advance,
        {
          id: claimed.id,
          token: claimed.lockToken,
          record: JSON.stringify(record),
          offset: offsetBytes,
          expiresAt: clock.now() + maxAgeMs,
        },
        eventual,
      );
      if (written.length === 0) throw claimLost();
      return { id: claimed.id, algorithm: claimed.algorithm, record, offsetBytes };
    },

    record: async (claimed, progress) =>
      (
        await database.write(
          record,
          { id: claimed.id, token: claimed.lockToken, record: JSON.stringify(progress.record), offset: progress.offsetBytes },
          eventual,
        )
      ).length > 0,

    // A lost claim releases and removes nothing: the session is another's, or gone.
    release: async (claimed) => void (await database.write(release, { id: claimed.id, token: claimed.lockToken }, ending)),

    // The same.
    drop: async (claimed) => void (await database.write(drop, { id: claimed.id, token: claimed.lockToken }, ending)),

    countOpen: async (limit) => (await database.all(listOpen, { now: clock.now(), limit })).length,

    isAlive: async (id) => (await database.first(findAlive, { id })) !== undefined,

    // Durable, unlike the rest: bytes are removed after it, and a session that came back would refer to them.
    markEnded: async (claimed) => (await database.write(markEnded, { id: claimed.id, token: claimed.lockToken }, ON_FULL_DISK)).length > 0,

    async endExpired(limit) {
      const now = clock.now();
      const judged = { ...claimsAt(now), expiredBefore: judge.now() };
      const ended: ClaimedUpload[] = [];
      for (const { id } of await database.all(listExpired, { ...judged, limit })) {
        const token = newToken();
        const [row] = await database.write(endExpired, { id, token, ...judged, until: now + UPLOAD_LOCK_MS }, ON_FULL_DISK);
        if (row !== undefined) ended.push({ ...uploadOf(row), lockToken: token });
      }
      return ended;
    },
  };
}

/** The error of a writer that held a session too long without renewing. */
export function claimLost(): RegistryError {
  return new RegistryError("CONFLICT", { message: "the upload was taken over by another request" });
}

function uploadOf(row: { id: string; algorithm: string; record: string; offset_bytes: number }): Upload {
  return {
    id: row.id,
    algorithm: row.algorithm as DigestAlgorithm,
    record: JSON.parse(row.record) as UploadRecord,
    offsetBytes: row.offset_bytes,
  };
}
