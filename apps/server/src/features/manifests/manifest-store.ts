// Tags and manifests with what people want to know of them. Every statement takes a page behind a place. Not here: who may (manifests.ts), changing
// them (content/).
import type { Executor } from "../../platform/database/database.ts";
import { statement } from "../../platform/database/statement.ts";

/** Manifests up to this size are read for a list: nearly all are far smaller, and 200 of these are 13 MB. */
const LISTED_BYTES = 64 * 1024;
/** Manifests that one look examines for those that are wanted. */
export const EXAMINED = 1000;
/** Behind every tag with a prefix: tags are ASCII. */
const BEHIND = "\u{7f}";

/** A tag with what it names. */
export interface TagRow {
  readonly name: string;
  readonly updated_at: number;
  readonly digest: string;
  readonly media_type: string;
  readonly artifact_type: string | null;
  readonly size_bytes: number;
  /** Null for a large manifest. */
  readonly bytes: Uint8Array | null;
  readonly pushed_by: string | null;
}

const listTagsOf = statement<{ repositoryId: number; after: string; from: string; through: string; limit: number }>()(
  "manifest.tags",
  (db, p) =>
    db
      .selectFrom("tag")
      .innerJoin("manifest", "manifest.id", "tag.manifest_id")
      .select((eb) => [
        "tag.name",
        "tag.updated_at",
        "manifest.digest",
        "manifest.media_type",
        "manifest.artifact_type",
        "manifest.size_bytes",
        eb.case().when("manifest.size_bytes", "<=", LISTED_BYTES).then(eb.ref("manifest.bytes")).else(null).end().as("bytes"),
        eb
          .selectFrom("tag_history")
          .leftJoin("account", "account.id", "tag_history.account_id")
          .select("account.name")
          .whereRef("tag_history.repository_id", "=", "tag.repository_id")
          .whereRef("tag_history.name", "=", "tag.name")
          .orderBy("tag_history.id", "desc")
          .limit(1)
          .as("pushed_by"),
      ])
      .where("tag.repository_id", "=", p.repositoryId)
      .where("tag.name", ">", p.after)
      .where("tag.name", ">=", p.from)
      .where("tag.name", "<=", p.through)
      .orderBy("tag.name")
      .limit(p.limit),
);

/** Tags after a name, in byte order, that begin with a prefix. */
export function listTagRows(
  executor: Executor,
  repositoryId: number,
  page: { after: string; prefix: string; limit: number },
): Promise<TagRow[]> {
  const { after, prefix, limit } = page;
  return executor.all(listTagsOf, { repositoryId, after, from: prefix, through: prefix + BEHIND, limit });
}

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
  /** 1 where a tag names it. */
  readonly is_tagged: number;
}

const listManifestsOf = statement<{ repositoryId: number; after: string; limit: number }>()("manifest.list", (db, p) =>
  db
    .selectFrom("manifest")
    .select((eb) => [
      "manifest.id",
      "manifest.digest",
      "manifest.media_type",
      "manifest.artifact_type",
      "manifest.subject_digest",
      "manifest.size_bytes",
      "manifest.created_at",
      eb
        .case()
        .when(eb.exists(eb.selectFrom("tag").select("tag.name").whereRef("tag.manifest_id", "=", "manifest.id")))
        .then(1)
        .else(0)
        .end()
        .as("is_tagged"),
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
  "manifest.bytes",
] as const;

const findByTag = statement<{ repository: string; tag: string }>()("manifest.content_by_tag", (db, p) =>
  db
    .selectFrom("repository")
    .innerJoin("tag", "tag.repository_id", "repository.id")
    .innerJoin("manifest", "manifest.id", "tag.manifest_id")
    .select(COLUMNS)
    .where("repository.name", "=", p.repository)
    .where("tag.name", "=", p.tag),
);

const findByDigest = statement<{ repository: string; digest: string }>()("manifest.content_by_digest", (db, p) =>
  db
    .selectFrom("repository")
    .innerJoin("manifest", "manifest.repository_id", "repository.id")
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
