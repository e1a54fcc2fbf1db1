// Which manifests name a subject: pages in the order of their arrival. Not here: the index that is built from them (distribution/lists.ts).
import type { Digest } from "@berth/oci/digest";
import { sql } from "kysely";
import type { Database } from "../platform/database/database.ts";
import { statement } from "../platform/database/statement.ts";
import type { GrantedRepository } from "./repositories.ts";

/** One manifest that names a subject. */
export interface ReferrerRow {
  /** The next page starts after it. */
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
  /** Referrers with ids after `startAfter`, of one artifact type or of all: as many as fit, and at least one if there is any. */
  list(repository: GrantedRepository, subject: Digest, page: ReferrerPage): Promise<ReferrerRows>;
  /** Those of the digests that are manifests here, each with its subject. */
  listSubjects(repository: GrantedRepository, digests: readonly Digest[]): Promise<Map<Digest, Digest | undefined>>;
}

/** Which page. */
export interface ReferrerPage {
  readonly artifactType: string | undefined;
  readonly startAfter: number;
  readonly limit: number;
  /** The size of all together; each counts its annotations and `DESCRIPTOR_BYTES` for the rest. */
  readonly maxBytes: number;
}

/** A page. */
export interface ReferrerRows {
  readonly rows: readonly ReferrerRow[];
  readonly hasMore: boolean;
}

/** The most that a descriptor has besides its annotations: two media types, a digest, names. */
export const DESCRIPTOR_BYTES = 800;
/** Annotations up to this size come with their row; larger ones, which are rare, are read when it is known that they fit on the page. */
const SMALL_BYTES = 1024;

/** The id as the indexes of subjects have it (migrations/0003-scale.ts), so that no other index is used for the order. */
const placeInOrder = sql<number>`(id + 0)`;
const COLUMNS = [
  "id",
  "digest",
  "media_type",
  "artifact_type",
  "size_bytes",
  sql<number | null>`octet_length(annotations)`.as("annotation_bytes"),
  sql<string | null>`case when octet_length(annotations) <= ${sql.lit(SMALL_BYTES)} then annotations end`.as("annotations"),
] as const;

const listAnnotations = statement<{ ids: number[] }>()("referrers.annotations", (db, p, tools) =>
  db
    .selectFrom("manifest")
    .select(["id", "annotations"])
    .where(({ ref }) => tools.inList(ref("id"), p.ids, "bigint")),
);

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

// Each digest is looked up by itself, and the caller compares its subject: a subject may have a million referrers.
const listSubjects = statement<{ repositoryId: number; digests: string[] }>()("referrers.listSubjects", (db, p, tools) =>
  db
    .selectFrom(tools.rows(p.digests, "text").as("named"))
    .crossJoin("manifest")
    .select(["manifest.digest", "manifest.subject_digest"])
    .where("manifest.repository_id", "=", p.repositoryId)
    .whereRef("manifest.digest", "=", "named.value"),
);

/** Creates the service for the referrers of a database. */
export function createReferrers(database: Database): Referrers {
  return {
    async list({ id: repositoryId }, subject, { artifactType, startAfter, limit, maxBytes }) {
      const found =
        artifactType === undefined
          ? await database.all(list, { repositoryId, subject, startAfter, limit: limit + 1 })
          : await database.all(listOfType, { repositoryId, subject, artifactType, startAfter, limit: limit + 1 });
      let bytes = 0;
      const fitting = found
        .slice(0, limit)
        .filter((row, at) => (bytes += DESCRIPTOR_BYTES + (row.annotation_bytes ?? 0)) <= maxBytes || at === 0);
      const large = fitting.filter((row) => row.annotations === null && row.annotation_bytes !== null).map((row) => row.id);
      const read = large.length === 0 ? [] : await database.all(listAnnotations, { ids: large });
      const annotations = new Map(read.map((row) => [row.id, row.annotations]));
      const rows = fitting.map((row) => ({
        id: row.id,
        digest: row.digest as Digest,
        mediaType: row.media_type,
        artifactType: row.artifact_type ?? undefined,
        sizeBytes: row.size_bytes,
        annotations: row.annotations ?? annotations.get(row.id) ?? undefined,
      }));
      return { rows, hasMore: found.length > rows.length };
    },
    async listSubjects({ id: repositoryId }, digests) {
      const rows = await database.all(listSubjects, { repositoryId, digests: [...digests] });
      return new Map(rows.map((row) => [row.digest as Digest, (row.subject_digest as Digest | null) ?? undefined]));
    },
  };
}
