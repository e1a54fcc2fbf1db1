// What a plan to delete has to know of a repository: tags and manifests that may be chosen, and what holds them. Every statement reads a page, or
// says where it ends. Not here: what follows from it (survey.ts, choose.ts), the plans' own rows (deletion-store.ts).
import { isTagged } from "../../content/manifest-statements.ts";
import type { Executor } from "../../platform/database/database.ts";
import { statement } from "../../platform/database/statement.ts";

/** Behind every tag with a prefix: tags are ASCII. */
const BEHIND = "\u{7f}";

/** A tag that may be chosen. */
export interface ChosenTag {
  readonly name: string;
  readonly manifest_id: number;
  readonly digest: string;
  readonly updated_at: number;
  readonly artifact_type: string | null;
}

const TAG_COLUMNS = ["tag.name", "tag.manifest_id", "tag.updated_at", "manifest.digest", "manifest.artifact_type"] as const;

const tagsFrom = statement<{ repositoryId: number; after: string; from: string; through: string; limit: number }>()(
  "deletion.tags_from",
  (db, p) =>
    db
      .selectFrom("tag")
      .innerJoin("manifest", "manifest.id", "tag.manifest_id")
      .select(TAG_COLUMNS)
      .where("tag.repository_id", "=", p.repositoryId)
      .where("tag.name", ">", p.after)
      .where("tag.name", ">=", p.from)
      .where("tag.name", "<=", p.through)
      .orderBy("tag.name")
      .limit(p.limit),
);
const tagsNamed = statement<{ repositoryId: number; names: string[] }>()("deletion.tags_named", (db, p, tools) =>
  db
    .selectFrom("tag")
    .innerJoin("manifest", "manifest.id", "tag.manifest_id")
    .select(TAG_COLUMNS)
    .where("tag.repository_id", "=", p.repositoryId)
    .where(({ ref }) => tools.inList(ref("tag.name"), p.names, "text")),
);

/** Tags after a name that begin with a prefix, in byte order. */
export function listTagsFrom(
  executor: Executor,
  repositoryId: number,
  page: { after: string; prefix: string; limit: number },
): Promise<ChosenTag[]> {
  const { after, prefix, limit } = page;
  return executor.all(tagsFrom, { repositoryId, after, from: prefix, through: prefix + BEHIND, limit });
}

/** Those of the tags that are there. */
export function listTagsNamed(executor: Executor, repositoryId: number, names: readonly string[]): Promise<ChosenTag[]> {
  return executor.all(tagsNamed, { repositoryId, names: [...names] });
}

/** A manifest that may be chosen. */
export interface ChosenManifest {
  readonly id: number;
  readonly digest: string;
  readonly artifact_type: string | null;
  readonly subject_digest: string | null;
  readonly size_bytes: number;
  readonly created_at: number;
}

const manifestsNamed = statement<{ repositoryId: number; digests: string[] }>()("deletion.manifests_named", (db, p, tools) =>
  db
    .selectFrom("manifest")
    .select(["id", "digest", "artifact_type", "subject_digest", "size_bytes", "created_at"])
    .where("repository_id", "=", p.repositoryId)
    .where(({ ref }) => tools.inList(ref("digest"), p.digests, "text")),
);

/** Those of the manifests that are there. */
export function listManifestsNamed(executor: Executor, repositoryId: number, digests: readonly string[]): Promise<ChosenManifest[]> {
  return executor.all(manifestsNamed, { repositoryId, digests: [...digests] });
}

const manifestsFrom = statement<{ repositoryId: number; after: string; limit: number }>()("deletion.manifests_from", (db, p) =>
  db
    .selectFrom("manifest")
    .select(["id", "digest", "artifact_type", "subject_digest", "size_bytes", "created_at", isTagged()])
    .where("repository_id", "=", p.repositoryId)
    .where("digest", ">", p.after)
    .orderBy("digest")
    .limit(p.limit),
);

/** Manifests after a digest, and whether a tag names them. */
export function listManifestsFrom(
  executor: Executor,
  repositoryId: number,
  after: string,
  limit: number,
): Promise<(ChosenManifest & { readonly is_tagged: number })[]> {
  return executor.all(manifestsFrom, { repositoryId, after, limit });
}

const present = statement<{ repositoryId: number; digests: string[] }>()("deletion.present", (db, p, tools) =>
  db
    .selectFrom("manifest")
    .select("digest")
    .where("repository_id", "=", p.repositoryId)
    .where(({ ref }) => tools.inList(ref("digest"), p.digests, "text")),
);

/** Those of the digests of which the repository has a manifest. */
export async function listPresent(executor: Executor, repositoryId: number, digests: readonly string[]): Promise<ReadonlySet<string>> {
  if (digests.length === 0) return new Set();
  return new Set((await executor.all(present, { repositoryId, digests: [...digests] })).map(({ digest }) => digest));
}

const tagsOf = statement<{ manifestIds: number[]; limit: number }>()("deletion.tags_of", (db, p, tools) =>
  db
    .selectFrom("tag")
    .select(["manifest_id", "name"])
    .where(({ ref }) => tools.inList(ref("manifest_id"), p.manifestIds, "bigint"))
    .limit(p.limit),
);
const parentsOf = statement<{ repositoryId: number; digests: string[]; limit: number }>()("deletion.parents_of", (db, p, tools) =>
  db
    .selectFrom("manifest_child")
    .innerJoin("manifest", "manifest.id", "manifest_child.manifest_id")
    .select(["manifest_child.child_digest", "manifest.digest"])
    .where("manifest_child.repository_id", "=", p.repositoryId)
    .where(({ ref }) => tools.inList(ref("manifest_child.child_digest"), p.digests, "text"))
    .limit(p.limit),
);

/** Tags that name manifests, at most `limit`. */
export function listTagsOf(
  executor: Executor,
  manifestIds: readonly number[],
  limit: number,
): Promise<{ manifest_id: number; name: string }[]> {
  return executor.all(tagsOf, { manifestIds: [...manifestIds], limit });
}

/** Indexes of the repository that name manifests, at most `limit`. */
export function listParentsOf(
  executor: Executor,
  repositoryId: number,
  digests: readonly string[],
  limit: number,
): Promise<{ child_digest: string; digest: string }[]> {
  return executor.all(parentsOf, { repositoryId, digests: [...digests], limit });
}

/** Holders of one blob that are counted. */
export const MAX_HOLDERS = 1000;

const blobsOf = statement<{ manifestIds: number[] }>()("deletion.blobs_of", (db, p, tools) =>
  db
    .selectFrom("manifest_blob")
    .select(["blob_id", "manifest_id"])
    .where(({ ref }) => tools.inList(ref("manifest_id"), p.manifestIds, "bigint")),
);
const holdersOf = statement<{ repositoryId: number; blobIds: number[] }>()("deletion.holders_of", (db, p, tools) =>
  db
    .selectFrom("blob")
    .select((eb) => [
      "blob.id",
      "blob.size_bytes",
      eb
        .selectFrom(
          eb
            .selectFrom("manifest_blob")
            .select("manifest_blob.manifest_id")
            .where("manifest_blob.repository_id", "=", p.repositoryId)
            .whereRef("manifest_blob.blob_id", "=", "blob.id")
            .limit(MAX_HOLDERS)
            .as("others"),
        )
        .select((inner) => inner.fn.countAll<number>().as("holders"))
        .as("holders"),
      eb
        .selectFrom("manifest_sparse_blob")
        .select("manifest_sparse_blob.manifest_id")
        .where("manifest_sparse_blob.repository_id", "=", p.repositoryId)
        .whereRef("manifest_sparse_blob.digest", "=", "blob.digest")
        .limit(1)
        .as("named_by"),
    ])
    .where(({ ref }) => tools.inList(ref("blob.id"), p.blobIds, "bigint")),
);

/** Blobs that manifests name. */
export function listBlobsOf(executor: Executor, manifestIds: readonly number[]): Promise<{ blob_id: number; manifest_id: number }[]> {
  return executor.all(blobsOf, { manifestIds: [...manifestIds] });
}

/** By how many manifests of the repository blobs are held, up to `MAX_HOLDERS`; whether another names one by its digest alone. */
export async function listHolders(
  executor: Executor,
  repositoryId: number,
  blobIds: readonly number[],
): Promise<{ id: number; size_bytes: number; holders: number | null; named_by: number | null }[]> {
  return executor.all(holdersOf, { repositoryId, blobIds: [...blobIds] });
}
