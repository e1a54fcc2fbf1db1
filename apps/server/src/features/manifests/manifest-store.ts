// Manifests with what people want to know of them, and the histories of tags. Every statement takes a page behind a place. Not here: lists of tags
// (tag-list-store.ts), who may (manifests.ts), changing them (content/).
import { usageKeyOfRepository, usageOf } from "../../content/usage.ts";
import { isTagged } from "../../content/manifest-statements.ts";
import type { Executor } from "../../platform/database/database.ts";
import { statement } from "../../platform/database/statement.ts";

/** Manifests that one look examines for those that are wanted. */
export const EXAMINED = 1000;
/** Looks of one request for what it wants of many: it ends within some 100 ms, and its page may be short and lead on. */
export const MAX_LOOKS = 10;
const listHistoryOf = statement<{ repositoryId: number; tag: string; before: number; limit: number }>()("manifest.tag_history", (db, p) =>
  db
    .selectFrom("tag_history")
    .leftJoin("account", "account.id", "tag_history.account_id")
    .select(["tag_history.id", "tag_history.digest", "tag_history.at", "account.name as by"])
    .where("tag_history.repository_id", "=", p.repositoryId)
    .where("tag_history.name", "=", p.tag)
    .where("tag_history.id", "<", p.before)
    .orderBy("tag_history.id", "desc")
    .limit(p.limit),
);

/** Changes of a tag, newest first, before one of them. */
export function listHistoryRows(
  executor: Executor,
  repositoryId: number,
  page: { tag: string; before: number; limit: number },
): Promise<{ id: number; digest: string | null; at: number; by: string | null }[]> {
  return executor.all(listHistoryOf, { repositoryId, ...page });
}

/** A manifest in a list. */
export interface ManifestRow {
  readonly id: number;
  readonly digest: string;
  readonly media_type: string;
  readonly artifact_type: string | null;
  readonly subject_digest: string | null;
  readonly size_bytes: number;
  readonly created_at: number;
  readonly pulled_at: number | null;
  /** 1 where a tag names it. */
  readonly is_tagged: number;
}

const listManifestsOf = statement<{ repositoryId: number; after: string; limit: number }>()("manifest.list", (db, p) =>
  db
    .selectFrom("manifest")
    .leftJoin("manifest_pull", "manifest_pull.manifest_id", "manifest.id")
    .select([
      "manifest.id",
      "manifest_pull.pulled_at",
      "manifest.digest",
      "manifest.media_type",
      "manifest.artifact_type",
      "manifest.subject_digest",
      "manifest.size_bytes",
      "manifest.created_at",
      isTagged(),
    ])
    .where("manifest.repository_id", "=", p.repositoryId)
    .where("manifest.digest", ">", p.after)
    .orderBy("manifest.digest")
    .limit(p.limit),
);

/** Manifests after a digest. */
export function listManifestRows(executor: Executor, repositoryId: number, page: { after: string; limit: number }): Promise<ManifestRow[]> {
  return executor.all(listManifestsOf, { repositoryId, ...page });
}

const listTagsNaming = statement<{ manifestId: number; limit: number }>()("manifest.tags_naming", (db, p) =>
  db.selectFrom("tag").select("name").where("manifest_id", "=", p.manifestId).orderBy("name").limit(p.limit),
);

/** The first tags that name a manifest. */
export async function listNames(executor: Executor, manifestId: number, limit: number): Promise<string[]> {
  return (await executor.all(listTagsNaming, { manifestId, limit })).map(({ name }) => name);
}

/** A manifest with its bytes. */
export interface ManifestContentRow {
  readonly id: number;
  readonly repository_id: number;
  readonly digest: string;
  readonly media_type: string;
  readonly artifact_type: string | null;
  readonly size_bytes: number;
  readonly created_at: number;
  readonly pulled_at: number | null;
  readonly bytes: Uint8Array;
}

const COLUMNS = [
  "manifest.id",
  "manifest.repository_id",
  "manifest.digest",
  "manifest.media_type",
  "manifest.artifact_type",
  "manifest.size_bytes",
  "manifest.created_at",
  "manifest_pull.pulled_at",
  "manifest.bytes",
] as const;

const findByTag = statement<{ repository: string; tag: string }>()("manifest.content_by_tag", (db, p) =>
  db
    .selectFrom("repository")
    .innerJoin("tag", "tag.repository_id", "repository.id")
    .innerJoin("manifest", "manifest.id", "tag.manifest_id")
    .leftJoin("manifest_pull", "manifest_pull.manifest_id", "manifest.id")
    .select(COLUMNS)
    .where("repository.name", "=", p.repository)
    .where("tag.name", "=", p.tag),
);

const findByDigest = statement<{ repository: string; digest: string }>()("manifest.content_by_digest", (db, p) =>
  db
    .selectFrom("repository")
    .innerJoin("manifest", "manifest.repository_id", "repository.id")
    .leftJoin("manifest_pull", "manifest_pull.manifest_id", "manifest.id")
    .select(COLUMNS)
    .where("repository.name", "=", p.repository)
    .where("manifest.digest", "=", p.digest),
);

/** The manifest that a tag or digest means. */
export function findContent(
  executor: Executor,
  repository: string,
  reference: { readonly tag: string } | { readonly digest: string },
): Promise<ManifestContentRow | undefined> {
  return "tag" in reference
    ? executor.first(findByTag, { repository, tag: reference.tag })
    : executor.first(findByDigest, { repository, digest: reference.digest });
}

const listPresentOf = statement<{ repositoryId: number; digests: string[] }>()("manifest.present", (db, p, tools) =>
  db
    .selectFrom("manifest")
    .select("digest")
    .where("repository_id", "=", p.repositoryId)
    .where(({ ref }) => tools.inList(ref("digest"), p.digests, "text")),
);

/** Those of the manifests that the repository has. */
export async function listPresent(executor: Executor, repositoryId: number, digests: readonly string[]): Promise<ReadonlySet<string>> {
  if (digests.length === 0) return new Set();
  return new Set((await executor.all(listPresentOf, { repositoryId, digests: [...digests] })).map(({ digest }) => digest));
}

const listReferrersOf = statement<{ repositoryId: number; subject: string; limit: number }>()("manifest.referrers", (db, p) =>
  db
    .selectFrom("manifest")
    .select(["digest", "media_type", "artifact_type", "size_bytes"])
    .where("repository_id", "=", p.repositoryId)
    .where("subject_digest", "=", p.subject)
    .orderBy((eb) => eb("id", "+", eb.lit(0)))
    .limit(p.limit),
);

/** The first manifests that are about one, in the order of their arrival. */
export function listReferrerRows(
  executor: Executor,
  repositoryId: number,
  subject: string,
  limit: number,
): Promise<{ digest: string; media_type: string; artifact_type: string | null; size_bytes: number }[]> {
  return executor.all(listReferrersOf, { repositoryId, subject, limit });
}

const sumOfUnique = statement<{ manifestId: number; limit: number }>()("manifest.unique", (db, p) =>
  db
    .selectFrom("manifest_blob")
    .innerJoin("blob", "blob.id", "manifest_blob.blob_id")
    .select((eb) => [
      "blob.size_bytes",
      eb
        .case()
        .when(
          eb.or([
            eb.exists(
              eb
                .selectFrom("manifest_blob as other")
                .select("other.manifest_id")
                .whereRef("other.repository_id", "=", "manifest_blob.repository_id")
                .whereRef("other.blob_id", "=", "manifest_blob.blob_id")
                .whereRef("other.manifest_id", "<>", "manifest_blob.manifest_id"),
            ),
            eb.exists(
              eb
                .selectFrom("manifest_sparse_blob as named")
                .select("named.manifest_id")
                .whereRef("named.repository_id", "=", "manifest_blob.repository_id")
                .whereRef("named.digest", "=", "blob.digest")
                .whereRef("named.manifest_id", "<>", "manifest_blob.manifest_id"),
            ),
          ]),
        )
        .then(0)
        .else(1)
        .end()
        .as("is_unique"),
    ])
    .where("manifest_blob.manifest_id", "=", p.manifestId)
    .limit(p.limit),
);

/** Blobs of a manifest that are looked at for what is its own. */
const MAX_UNIQUE = 1000;

/** Bytes of blobs that no other manifest of the repository names; null where it has too many blobs. */
export async function sumUnique(executor: Executor, manifestId: number): Promise<number | null> {
  const blobs = await executor.all(sumOfUnique, { manifestId, limit: MAX_UNIQUE + 1 });
  if (blobs.length > MAX_UNIQUE) return null;
  return blobs.reduce((sum, { size_bytes, is_unique }) => sum + (is_unique === 1 ? size_bytes : 0), 0);
}

const countOf = statement<{ repositoryId: number }>()("manifest.count", (db, p) =>
  db
    .selectFrom("repository")
    .select([usageOf("tags", usageKeyOfRepository).as("tags"), usageOf("manifests", usageKeyOfRepository).as("manifests")])
    .where("repository.id", "=", p.repositoryId),
);

/** How many tags and manifests a repository has, by the numbers that are kept. */
export async function findCounts(executor: Executor, repositoryId: number): Promise<{ tags: number; manifests: number }> {
  return (await executor.first(countOf, { repositoryId })) ?? { tags: 0, manifests: 0 };
}
