// Lists of tags in each of their orders: a walk over an index that reads little of each, and what is shown of those that are. Not here: which are
// shown (tag-list.ts), what the orders are made of (content/tags.ts).
import type { Executor } from "../../platform/database/database.ts";
import { statement } from "../../platform/database/statement.ts";

/** Manifests up to this size are read for a list: nearly all are far smaller, and 200 of these are 13 MB. */
const LISTED_BYTES = 64 * 1024;
/** Behind every tag: tags are ASCII. */
export const BEHIND = "\u{7f}";

/** What tags can be listed by. */
export type TagSort = "name" | "version" | "pushed" | "size";
/** In which direction. */
export type TagOrder = "ascending" | "descending";

/** Where a walk goes on: behind a tag with what it is sorted by; by name, that is "". */
export interface TagPlace {
  readonly key: string | number;
  readonly name: string;
}

/** A tag on the way. */
export interface WalkedTag extends TagPlace {
  readonly media_type: string;
  readonly artifact_type: string | null;
}

interface NameRange extends Record<string, string | number> {
  repositoryId: number;
  name: string;
  from: string;
  through: string;
  limit: number;
}

const byName = (order: TagOrder) =>
  statement<NameRange>()(`manifest.tags_by_name_${order}`, (db, p) =>
    db
      .selectFrom("tag")
      .innerJoin("manifest", "manifest.id", "tag.manifest_id")
      .select(["tag.name", "manifest.media_type", "manifest.artifact_type"])
      .where("tag.repository_id", "=", p.repositoryId)
      .where("tag.name", order === "ascending" ? ">" : "<", p.name)
      .where("tag.name", ">=", p.from)
      .where("tag.name", "<=", p.through)
      .orderBy("tag.name", order === "ascending" ? "asc" : "desc")
      .limit(p.limit),
  );

const byColumn = <C extends "version_key" | "updated_at" | "content_bytes">(column: C, order: TagOrder) =>
  statement<{ repositoryId: number; key: C extends "version_key" ? string : number; name: string; limit: number }>()(
    `manifest.tags_by_${column}_${order}`,
    (db, p) =>
      db
        .selectFrom("tag")
        .innerJoin("manifest", "manifest.id", "tag.manifest_id")
        .select([`tag.${column as "version_key"} as key`, "tag.name", "manifest.media_type", "manifest.artifact_type"])
        .where("tag.repository_id", "=", p.repositoryId)
        .where(({ eb, refTuple, tuple, val }) =>
          eb(
            refTuple(`tag.${column as "version_key"}`, "tag.name"),
            order === "ascending" ? ">" : "<",
            tuple(val(p.key as string), val(p.name)),
          ),
        )
        .orderBy(`tag.${column as "version_key"}`, order === "ascending" ? "asc" : "desc")
        .orderBy("tag.name", order === "ascending" ? "asc" : "desc")
        .limit(p.limit),
  );

const NAMES = { ascending: byName("ascending"), descending: byName("descending") };
const VERSIONS = { ascending: byColumn("version_key", "ascending"), descending: byColumn("version_key", "descending") };
const PUSHES = { ascending: byColumn("updated_at", "ascending"), descending: byColumn("updated_at", "descending") };
const SIZES = { ascending: byColumn("content_bytes", "ascending"), descending: byColumn("content_bytes", "descending") };

/** Tags behind a place. By name, only those that begin with `prefix`; in the other orders all. */
export async function walkTags(
  executor: Executor,
  repositoryId: number,
  walk: { sort: TagSort; order: TagOrder; prefix: string; place: TagPlace; limit: number },
): Promise<readonly WalkedTag[]> {
  const { sort, order, prefix, place, limit } = walk;
  const { key, name } = place;
  switch (sort) {
    case "name": {
      const rows = await executor.all(NAMES[order], { repositoryId, name, from: prefix, through: prefix + BEHIND, limit });
      return rows.map((row) => ({ key: "", ...row }));
    }
    case "version":
      return executor.all(VERSIONS[order], { repositoryId, key: String(key), name, limit });
    case "pushed":
      return executor.all(PUSHES[order], { repositoryId, key: Number(key), name, limit });
    case "size":
      return executor.all(SIZES[order], { repositoryId, key: Number(key), name, limit });
  }
}

/** A tag with what it names. */
export interface TagRow {
  readonly name: string;
  readonly updated_at: number;
  readonly digest: string;
  readonly media_type: string;
  readonly artifact_type: string | null;
  /** Of the manifest and what it names; null where that is not counted yet. */
  readonly content_bytes: number | null;
  /** Null for a large manifest. */
  readonly bytes: Uint8Array | null;
  readonly pushed_by: string | null;
  readonly pulled_at: number | null;
}

const listByNames = statement<{ repositoryId: number; names: string[] }>()("manifest.tags", (db, p, tools) =>
  db
    .selectFrom("tag")
    .innerJoin("manifest", "manifest.id", "tag.manifest_id")
    .leftJoin("manifest_pull", "manifest_pull.manifest_id", "manifest.id")
    .select((eb) => [
      "tag.name",
      "tag.updated_at",
      "manifest.digest",
      "manifest.media_type",
      "manifest.artifact_type",
      "manifest_pull.pulled_at",
      eb
        .case()
        .when(eb("tag.sorted_manifest_id", "=", eb.ref("tag.manifest_id")))
        .then(eb.ref("tag.content_bytes"))
        .else(null)
        .end()
        .as("content_bytes"),
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
    .where(({ ref }) => tools.inList(ref("tag.name"), p.names, "text")),
);

/** Those of the tags that are there, by their names. */
export async function findTagRows(
  executor: Executor,
  repositoryId: number,
  names: readonly string[],
): Promise<ReadonlyMap<string, TagRow>> {
  if (names.length === 0) return new Map();
  return new Map((await executor.all(listByNames, { repositoryId, names: [...names] })).map((row) => [row.name, row]));
}
