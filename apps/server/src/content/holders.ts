// Which manifests lead to content: those of a repository that hold a blob, and a manifest's relations to others. Results are paged and
// bounded, because a base layer may be in a hundred thousand manifests. Not here: their use (distribution/gatekeeper.ts).
import type { Digest } from "@berth/oci/digest";
import type { Grant } from "../access/caller.ts";
import type { Database } from "../platform/database/database.ts";
import { statement } from "../platform/database/statement.ts";
import type { ManifestRow } from "./manifests.ts";
import type { GrantedRepository } from "./repositories.ts";

/** What a manifest names and is named by, among the manifests of its repository. */
export interface ManifestRelations {
  /** Its subject. */
  readonly subject: Digest | undefined;
  readonly artifactType: string | undefined;
  /** The entries of an index, whether or not they exist; at most `MAX_RELATED`. */
  readonly children: readonly Digest[];
  /** The indexes that name it; at most `MAX_RELATED`. */
  readonly parents: readonly Digest[];
}

/** The most children, and the most parents, that are returned: indexes have as many entries as there are platforms. */
export const MAX_RELATED = 1000;
/** The number of manifests that are looked up at once. */
const PAGE = 50;

/** Look-ups of holders and relations. */
export interface Holders {
  /** Manifests of the repository that name the blob, whether or not it exists: newest first, because those are pulled most. */
  list(repository: GrantedRepository<"pull">, digest: Digest): AsyncGenerator<ManifestRow, void, void>;
  relations(grant: Grant<"pull">, manifest: ManifestRow): Promise<ManifestRelations>;
}

interface Page extends Record<string, string | number> {
  repositoryId: number;
  digest: string;
  beforeId: number;
  limit: number;
}

/** The blob's id replaces a join, so that rows are read in the order of the edges' key. */
const listByEdge = statement<Page>()("holders.byEdge", (db, p) =>
  db
    .selectFrom("manifest_blob")
    .innerJoin("manifest", "manifest.id", "manifest_blob.manifest_id")
    .select(["manifest.id", "manifest.digest", "manifest.media_type", "manifest.size_bytes"])
    .where("manifest_blob.repository_id", "=", p.repositoryId)
    .where("manifest_blob.blob_id", "=", ({ selectFrom }) => selectFrom("blob").select("blob.id").where("blob.digest", "=", p.digest))
    .where("manifest_blob.manifest_id", "<", p.beforeId)
    .orderBy("manifest_blob.manifest_id", "desc")
    .limit(p.limit),
);

const listByName = statement<Page>()("holders.byName", (db, p) =>
  db
    .selectFrom("manifest_sparse_blob")
    .innerJoin("manifest", "manifest.id", "manifest_sparse_blob.manifest_id")
    .select(["manifest.id", "manifest.digest", "manifest.media_type", "manifest.size_bytes"])
    .where("manifest_sparse_blob.repository_id", "=", p.repositoryId)
    .where("manifest_sparse_blob.digest", "=", p.digest)
    .where("manifest_sparse_blob.manifest_id", "<", p.beforeId)
    .orderBy("manifest_sparse_blob.manifest_id", "desc")
    .limit(p.limit),
);

const findSelf = statement<{ id: number }>()("holders.self", (db, p) =>
  db.selectFrom("manifest").select(["repository_id", "subject_digest", "artifact_type"]).where("id", "=", p.id),
);

const listChildren = statement<{ id: number; limit: number }>()("holders.children", (db, p) =>
  db.selectFrom("manifest_child").select("child_digest").where("manifest_id", "=", p.id).limit(p.limit),
);

const listParents = statement<{ repositoryId: number; digest: string; limit: number }>()("holders.parents", (db, p) =>
  db
    .selectFrom("manifest_child")
    .innerJoin("manifest", "manifest.id", "manifest_child.manifest_id")
    .select("manifest.digest")
    .where("manifest_child.repository_id", "=", p.repositoryId)
    .where("manifest_child.child_digest", "=", p.digest)
    .limit(p.limit),
);

/** Creates the look-ups of a database. */
export function createHolders(database: Database): Holders {
  return {
    async *list({ id: repositoryId }, digest) {
      // Held by id, or by its digest if it did not exist when the manifest came.
      for (const page of [listByEdge, listByName]) {
        let beforeId = Number.MAX_SAFE_INTEGER;
        for (;;) {
          const rows = await database.all(page, { repositoryId, digest, beforeId, limit: PAGE });
          for (const row of rows) {
            yield { id: row.id, digest: row.digest as Digest, mediaType: row.media_type, sizeBytes: row.size_bytes };
          }
          if (rows.length < PAGE) break;
          beforeId = rows.at(-1)!.id;
        }
      }
    },

    async relations(_grant, manifest) {
      const { id, digest } = manifest;
      const self = await database.first(findSelf, { id });
      const children = await database.all(listChildren, { id, limit: MAX_RELATED });
      const parents =
        self === undefined ? [] : await database.all(listParents, { repositoryId: self.repository_id, digest, limit: MAX_RELATED });
      return {
        subject: (self?.subject_digest as Digest | null | undefined) ?? undefined,
        artifactType: self?.artifact_type ?? undefined,
        children: children.map((row) => row.child_digest as Digest),
        parents: parents.map((row) => row.digest as Digest),
      };
    },
  };
}
