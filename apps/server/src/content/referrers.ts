// Which manifests name a subject: pages in the order of their arrival. Not here: the index that is made of them (distribution/referrers.ts).
import type { Digest } from "@berth/oci/digest";
import { sql } from "kysely";
import type { Grant } from "../access/caller.ts";
import type { Database } from "../platform/database/database.ts";
import { statement } from "../platform/database/statement.ts";

/** One manifest that names a subject. */
export interface ReferrerRow {
  /** Where the next page starts after. */
  readonly id: number;
  readonly digest: Digest;
  readonly mediaType: string;
  readonly artifactType: string | undefined;
  readonly sizeBytes: number;
  /** JSON object, or undefined. */
  readonly annotations: string | undefined;
}

/** The referrers of subjects. */
export interface Referrers {
  /** Referrers with ids after `startAfter`, of one artifact type or of all. */
  list(grant: Grant, repositoryId: number, subject: Digest, filter: ReferrerPage): Promise<ReferrerRow[]>;
  /** Those of the digests that name the subject. */
  listAmong(grant: Grant, repositoryId: number, subject: Digest, digests: readonly Digest[]): Promise<Set<Digest>>;
}

/** Which page. */
export interface ReferrerPage {
  readonly artifactType: string | undefined;
  readonly startAfter: number;
  readonly limit: number;
}

/** The id as the indexes of subjects have it (migrations/0003-scale.ts), so that no other index can be taken for the order. */
const placeInOrder = sql<number>`(id + 0)`;
const COLUMNS = ["id", "digest", "media_type", "artifact_type", "size_bytes", "annotations"] as const;

const list = statement<{ repositoryId: number; subject: string; startAfter: number; limit: number }>()("referrers.list", (db, p) =>
  db
    .selectFrom("manifest")
    .select(COLUMNS)
    .where("repository_id", "=", p.repositoryId)
    .where("subject_digest", "=", p.subject)
    .where(placeInOrder, ">", p.startAfter)
    .orderBy(placeInOrder)
    .limit(p.limit),
);

const listOfType = statement<{ repositoryId: number; subject: string; artifactType: string; startAfter: number; limit: number }>()(
  "referrers.listOfType",
  (db, p) =>
    db
      .selectFrom("manifest")
      .select(COLUMNS)
      .where("repository_id", "=", p.repositoryId)
      .where("subject_digest", "=", p.subject)
      .where("artifact_type", "=", p.artifactType)
      .where(placeInOrder, ">", p.startAfter)
      .orderBy(placeInOrder)
      .limit(p.limit),
);

// Each digest is looked up by itself, and its subject compared by the caller: a subject may have a million referrers.
const listAmong = statement<{ repositoryId: number; digests: string[] }>()("referrers.listAmong", (db, p, tools) =>
  db
    .selectFrom(tools.rows(p.digests, "text").as("named"))
    .crossJoin("manifest")
    .select(["manifest.digest", "manifest.subject_digest"])
    .where("manifest.repository_id", "=", p.repositoryId)
    .whereRef("manifest.digest", "=", "named.value"),
);

/** Opens the referrers of a database. */
export function createReferrers(database: Database): Referrers {
  return {
    async list(_grant, repositoryId, subject, { artifactType, startAfter, limit }) {
      const rows =
        artifactType === undefined
          ? await database.all(list, { repositoryId, subject, startAfter, limit })
          : await database.all(listOfType, { repositoryId, subject, artifactType, startAfter, limit });
      return rows.map((row) => ({
        id: row.id,
        digest: row.digest as Digest,
        mediaType: row.media_type,
        artifactType: row.artifact_type ?? undefined,
        sizeBytes: row.size_bytes,
        annotations: row.annotations ?? undefined,
      }));
    },
    async listAmong(_grant, repositoryId, subject, digests) {
      const rows = await database.all(listAmong, { repositoryId, digests: [...digests] });
      return new Set(rows.filter((row) => row.subject_digest === subject).map((row) => row.digest as Digest));
    },
  };
}
