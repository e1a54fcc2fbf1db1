// Repositories: their ids and the catalog. A repository comes into being with its first upload. Not here: who may see it.
import type { RepositoryName } from "@berth/oci/reference";
import { LRUCache } from "lru-cache";
import type { Grant } from "../access/caller.ts";
import type { Clock } from "../platform/clock.ts";
import { createLookUp } from "../platform/database/batch.ts";
import type { Database } from "../platform/database/database.ts";
import { statement } from "../platform/database/statement.ts";

/** Ids remembered by name: 100 bytes each, so 20,000 are 2 MB. Rows are never renamed, and an id is never used again. */
const MAX_REMEMBERED = 20_000;

/** Where repositories are found. */
export interface Repositories {
  /** Id of a repository, or undefined where there is none. */
  findId(grant: Grant): Promise<number | undefined>;
  /** Id of a repository, made now if need be. */
  ensureId(grant: Grant<"push">): Promise<number>;
  /** Names of a project's repositories after `startAfter` up to `through`, in byte order. */
  listNames(projectId: number, startAfter: string, through: string, limit: number): Promise<string[]>;
  /** The same of all projects. */
  listAllNames(startAfter: string, limit: number): Promise<string[]>;
  /** Repositories, at most `limit`, whose content includes a blob; for mounts that do not say from where. */
  listHolding(digest: string, limit: number): Promise<string[]>;
}

const findId = statement<{ name: string }>()("repositories.find", (db, p) =>
  db.selectFrom("repository").select("id").where("name", "=", p.name),
);

const findMany = statement<{ names: string[] }>()("repositories.findMany", (db, p, tools) =>
  db
    .selectFrom("repository")
    .select(["id", "name"])
    .where(({ ref }) => tools.inList(ref("name"), p.names, "text")),
);

const insert = statement<{ name: string; projectId: number; now: number }>()("repositories.insert", (db, p) =>
  db
    .insertInto("repository")
    .values({ name: p.name, project_id: p.projectId, created_at: p.now })
    .onConflict((conflict) => conflict.column("name").doNothing()),
);

const listAllNames = statement<{ startAfter: string; limit: number }>()("repositories.listAll", (db, p) =>
  db.selectFrom("repository").select("name").where("name", ">", p.startAfter).orderBy("name").limit(p.limit),
);

const listNames = statement<{ projectId: number; startAfter: string; through: string; limit: number }>()("repositories.list", (db, p) =>
  db
    .selectFrom("repository")
    .select("name")
    .where("project_id", "=", p.projectId)
    .where("name", ">", p.startAfter)
    .where("name", "<=", p.through)
    .orderBy("name")
    .limit(p.limit),
);

const listHolding = statement<{ digest: string; limit: number }>()("repositories.holding", (db, p) =>
  db
    .selectFrom("blob")
    .innerJoin("repository_blob", "repository_blob.blob_id", "blob.id")
    .innerJoin("repository", "repository.id", "repository_blob.repository_id")
    .select("repository.name")
    .where("blob.digest", "=", p.digest)
    .where("blob.damaged_at", "is", null)
    .limit(p.limit),
);

/** Opens the repositories of a database. */
export function createRepositories(database: Database, clock: Clock): Repositories {
  const ids = new LRUCache<RepositoryName, number>({ max: MAX_REMEMBERED });
  const lookUp = createLookUp(database, {
    one: findId,
    many: findMany,
    manyOf: (keys) => ({ names: keys.map((key) => key.name) }),
    idOfKey: (key) => key.name,
    idOfRow: (row) => row.name,
  });
  async function find(name: RepositoryName): Promise<number | undefined> {
    const id = ids.get(name) ?? (await lookUp({ name }))?.id;
    if (id !== undefined) ids.set(name, id);
    return id;
  }
  return {
    findId: (grant) => find(grant.repository),
    async ensureId(grant) {
      const known = await find(grant.repository);
      if (known !== undefined) return known;
      await database.write(insert, { name: grant.repository, projectId: grant.projectId, now: clock.now() });
      const id = await find(grant.repository);
      if (id === undefined) throw new Error(`repository ${grant.repository} vanished while it was made`);
      return id;
    },
    listNames: async (projectId, startAfter, through, limit) =>
      (await database.all(listNames, { projectId, startAfter, through, limit })).map((row) => row.name),
    listAllNames: async (startAfter, limit) => (await database.all(listAllNames, { startAfter, limit })).map((row) => row.name),
    listHolding: async (digest, limit) => (await database.all(listHolding, { digest, limit })).map((row) => row.name),
  };
}
