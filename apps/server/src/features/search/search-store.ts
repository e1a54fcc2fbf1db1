// What a search reads of repositories: by an index each, whatever else there is. Not here: which repositories (search.ts).
import type { Executor } from "../../platform/database/database.ts";
import { statement } from "../../platform/database/statement.ts";

/** Names from one on, all that begin with `prefix`. */
export interface Prefix {
  readonly after: string;
  readonly prefix: string;
  /** Behind all of them. */
  readonly through: string;
}

/** A repository with something that is looked for. */
export interface HoldingRow {
  readonly id: number;
  readonly name: string;
}

/** A tag or a manifest that begins so. */
export interface FoundRow {
  readonly tag: string | null;
  readonly digest: string;
  readonly pushedAt: Date;
}

// The first of each is looked up by itself, so that one with very many costs no more than one with a single one.
const holdingTags = statement<{ names: string[]; prefix: string; through: string }>()("search.holding_tags", (db, p, tools) =>
  db
    .selectFrom("repository")
    .select((eb) => [
      "repository.id",
      "repository.name",
      eb
        .selectFrom("tag")
        .select("tag.name")
        .whereRef("tag.repository_id", "=", "repository.id")
        .where("tag.name", ">=", p.prefix)
        .where("tag.name", "<=", p.through)
        .orderBy("tag.name")
        .limit(1)
        .as("first"),
    ])
    .where(({ ref }) => tools.inList(ref("repository.name"), p.names, "text")),
);
const holdingDigests = statement<{ names: string[]; prefix: string; through: string }>()("search.holding_digests", (db, p, tools) =>
  db
    .selectFrom("repository")
    .select((eb) => [
      "repository.id",
      "repository.name",
      eb
        .selectFrom("manifest")
        .select("manifest.digest")
        .whereRef("manifest.repository_id", "=", "repository.id")
        .where("manifest.digest", ">=", p.prefix)
        .where("manifest.digest", "<=", p.through)
        .orderBy("manifest.digest")
        .limit(1)
        .as("first"),
    ])
    .where(({ ref }) => tools.inList(ref("repository.name"), p.names, "text")),
);
const listTags = statement<{ id: number; after: string; prefix: string; through: string; limit: number }>()("search.tags", (db, p) =>
  db
    .selectFrom("tag")
    .innerJoin("manifest", "manifest.id", "tag.manifest_id")
    .select(["tag.name", "tag.updated_at", "manifest.digest"])
    .where("tag.repository_id", "=", p.id)
    .where("tag.name", ">", p.after)
    .where("tag.name", ">=", p.prefix)
    .where("tag.name", "<=", p.through)
    .orderBy("tag.name")
    .limit(p.limit),
);
const listDigests = statement<{ id: number; after: string; prefix: string; through: string; limit: number }>()("search.digests", (db, p) =>
  db
    .selectFrom("manifest")
    .select(["digest", "created_at"])
    .where("repository_id", "=", p.id)
    .where("digest", ">", p.after)
    .where("digest", ">=", p.prefix)
    .where("digest", "<=", p.through)
    .orderBy("digest")
    .limit(p.limit),
);

/** Those of the repositories that have such a tag, or such a manifest, in the order of their names. */
export async function listHolding(
  executor: Executor,
  kind: "tag" | "digest",
  names: readonly string[],
  { prefix, through }: Omit<Prefix, "after">,
): Promise<HoldingRow[]> {
  if (names.length === 0) return [];
  const rows = await executor.all(kind === "tag" ? holdingTags : holdingDigests, { names: [...names], prefix, through });
  return rows.filter(({ first }) => first !== null).toSorted((a, b) => (a.name < b.name ? -1 : 1));
}

/** Tags or manifests of a repository that begin so. */
export async function listFound(
  executor: Executor,
  kind: "tag" | "digest",
  id: number,
  { range, limit }: { readonly range: Prefix; readonly limit: number },
): Promise<FoundRow[]> {
  const asked = { id, ...range, limit };
  if (kind === "tag")
    return (await executor.all(listTags, asked)).map((row) => ({ tag: row.name, digest: row.digest, pushedAt: new Date(row.updated_at) }));
  return (await executor.all(listDigests, asked)).map((row) => ({ tag: null, digest: row.digest, pushedAt: new Date(row.created_at) }));
}
