// Repositories: their ids and the catalog. A repository is created by its first upload, and vanishes the moment it is deleted: its row gets
// a name that no request can have, and its content is removed later (repository-removal.ts). Not here: who may see it.
import { RegistryError } from "@berth/oci/errors";
import type { RepositoryName } from "@berth/oci/reference";
import { expressionBuilder, type Expression, type ExpressionBuilder, type SqlBool } from "kysely";
import { LRUCache } from "lru-cache";
import type { Action, Grant } from "../access/caller.ts";
import type { ChangeSink } from "../access/changes.ts";
import { refuseNarrowed } from "../access/tag-patterns.ts";
import { grantedTransaction, type GrantedOptions } from "../access/granted-transaction.ts";
import type { Clock } from "../platform/clock.ts";
import { createLookUp } from "../platform/database/batch.ts";
import { type Database, type Executor, ON_FULL_DISK } from "../platform/database/database.ts";
import type { Schema } from "../platform/database/schema.ts";
import { statement } from "../platform/database/statement.ts";
import { type ContentChange, placeOf } from "./changes.ts";

/**
 * The number of cached ids by name: 100 bytes each, so 20,000 are 2 MB. An id is never reused, so the worst case is one of a deleted
 * repository.
 */
const MAX_REMEMBERED = 20_000;

/**
 * The prefix of deleted repositories' names, and the name of their project: it sorts after all characters that a name may have, so that
 * lists end before it.
 */
export const TOMBSTONE = "~";

/** The condition of a statement on a repository that is not deleted. */
export function isLive({ eb }: ExpressionBuilder<Schema, "repository">) {
  return eb("repository.name", "<", TOMBSTONE);
}

/** Whether a name is that of a deleted repository. */
export function isTombstone(name: string): boolean {
  return name >= TOMBSTONE;
}

/** The most tries of a write whose repository is deleted each time. */
const MAX_TRIES = 3;

declare const found: unique symbol;

/**
 * A grant with the repository that it is for: content is read and written by it. Made only here, from the grant alone, so that no grant is
 * ever joined with the id of another repository.
 */
export interface GrantedRepository<A extends Action = Action> {
  readonly grant: Grant<A>;
  readonly id: number;
  readonly [found]: A;
}

/** Finds and creates repositories. */
export interface Repositories {
  /** The grant's repository as it is at the time of the call or later, or undefined if there is none. */
  find<A extends Action>(grant: Grant<A>): Promise<GrantedRepository<A> | undefined>;
  /**
   * The same, perhaps from a cache: it may have been deleted since. For statements that check whether the repository exists; if they find
   * nothing, they look again with `find`.
   */
  recall<A extends Action>(grant: Grant<A>): GrantedRepository<A> | Promise<GrantedRepository<A> | undefined>;
  /** The grant's repository, which is created if it does not exist; perhaps from a cache. */
  ensure(grant: Grant<"push">): Promise<GrantedRepository<"push">>;
  /**
   * Runs a transaction on a repository, which is created if it does not exist. If the transaction failed because the repository had been
   * deleted, it runs again on the present one. Errors: CONFLICT if it is deleted again and again.
   */
  writing<T>(grant: Grant<"push">, work: (repository: GrantedRepository<"push">) => Promise<T>): Promise<T>;
  /** Removes a repository with everything in it, at once and for everybody. Errors: NAME_UNKNOWN. */
  delete(grant: Grant<"delete">): Promise<void>;
  /** Names of a project's repositories after `startAfter` up to `through`, in byte order. */
  listNames(projectId: number, startAfter: string, through: string, limit: number): Promise<string[]>;
  /** The same for all projects. */
  listAllNames(startAfter: string, limit: number): Promise<string[]>;
  /** Names of at most `limit` repositories that have a blob, of all projects: for callers who may read everything. */
  listHolding(digest: string, limit: number): Promise<string[]>;
  /**
   * The same among the first `looked` repositories of some projects. It works from those, not from the blob, so that other projects'
   * content costs no time and takes no place: the duration reveals nothing about it.
   */
  listHoldingIn(digest: string, projectIds: readonly number[], looked: number, limit: number): Promise<string[]>;
  /** The same among repositories given by name. */
  listHoldingAmong(digest: string, names: readonly string[], limit: number): Promise<string[]>;
}

const findByName = statement<{ name: string }>()("repositories.find", (db, p) =>
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
    .onConflict((conflict) => conflict.column("name").doNothing())
    .returning("id"),
);

const listAllNames = statement<{ startAfter: string; limit: number }>()("repositories.listAll", (db, p) =>
  db.selectFrom("repository").select("name").where("name", ">", p.startAfter).where(isLive).orderBy("name").limit(p.limit),
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
    .where(isLive)
    .limit(p.limit),
);

/** No blob has this id. */
const NO_BLOB = 0;

/**
 * The condition that a repository has a blob. It checks each repository by its own link, with as many steps if no blob has the digest; the
 * planner could turn a join, or `exists`, around and begin with all repositories that have the blob.
 */
function holds(repositoryId: Expression<number>, digest: string): Expression<SqlBool> {
  const { eb, selectFrom, fn, lit } = expressionBuilder<Schema>();
  const blob = selectFrom("blob").select("blob.id").where("blob.digest", "=", digest).where("blob.damaged_at", "is", null);
  const link = selectFrom("repository_blob")
    .select("repository_blob.repository_id")
    .where("repository_blob.repository_id", "=", repositoryId)
    .where("repository_blob.blob_id", "=", fn.coalesce(blob.$asScalar(), lit(NO_BLOB)));
  return eb(link.$asScalar(), "is not", null);
}

const holdingIn = statement<{ digest: string; projectIds: number[]; looked: number; limit: number }>()(
  "repositories.holdingIn",
  (db, p, tools) =>
    db
      .selectFrom(
        db
          .selectFrom("repository")
          .select(["repository.id", "repository.name"])
          .where(({ ref }) => tools.inList(ref("repository.project_id"), p.projectIds, "bigint"))
          .limit(p.looked)
          .as("candidate"),
      )
      .select("candidate.name")
      .where(({ ref }) => holds(ref("candidate.id"), p.digest))
      .limit(p.limit),
  { bounded: "looks at as many repositories as its limit says" },
);

const holdingAmong = statement<{ digest: string; names: string[]; limit: number }>()("repositories.holdingAmong", (db, p, tools) =>
  db
    .selectFrom("repository")
    .select("repository.name")
    .where(({ ref }) => tools.inList(ref("repository.name"), p.names, "text"))
    .where(({ ref }) => holds(ref("repository.id"), p.digest))
    .limit(p.limit),
);

const lock = statement<{ name: string }>()("repositories.lock", (db, p, tools) =>
  db.selectFrom("repository").select("id").where("name", "=", p.name).modifyEnd(tools.lock("update")),
);

// The project of deleted repositories, so that their own project can be deleted at once.
const insertDeletedProject = statement<{ now: number }>()("repositories.insertDeletedProject", (db, p) =>
  db
    .insertInto("project")
    .values({ name: TOMBSTONE, sort_key: TOMBSTONE, is_public: 0, created_at: p.now })
    .onConflict((conflict) => conflict.column("name").doNothing()),
);

const markDeleted = statement<{ id: number; name: string }>()("repositories.markDeleted", (db, p) =>
  db
    .updateTable("repository")
    .set(({ selectFrom }) => ({
      name: p.name,
      project_id: selectFrom("project").select("project.id").where("project.name", "=", TOMBSTONE).$asScalar(),
    }))
    .where("id", "=", p.id),
);

// The error text of the triggers (migrations/0004-usage.ts).
const DELETED = "repository_deleted";

function bind<A extends Action>(grant: Grant<A>, id: number): GrantedRepository<A> {
  return { grant, id } as GrantedRepository<A>;
}

/** `grantedTransaction` on a repository: `work` gets it with the renewed grant. */
export function repositoryTransaction<A extends Action, T>(
  database: Database,
  repository: GrantedRepository<A>,
  work: (tx: Executor, repository: GrantedRepository<A>) => Promise<T>,
  options?: GrantedOptions,
): Promise<T> {
  const { grant, id } = repository;
  return grantedTransaction(database, grant, (tx, present) => work(tx, present === grant ? repository : bind(present, id)), options);
}

/** Whether a write failed because its repository was deleted. */
export function isRepositoryDeleted(error: unknown): boolean {
  return error instanceof Error && error.message === DELETED;
}

/** The same for a statement that found no repository to write to. */
export function repositoryDeleted(): Error {
  return new Error(DELETED);
}

/** Creates the service for the repositories of a database. */
export function createRepositories(database: Database, clock: Clock, changes: ChangeSink<ContentChange>): Repositories {
  const ids = new LRUCache<RepositoryName, number>({ max: MAX_REMEMBERED });
  const lookUp = createLookUp(database, {
    one: findByName,
    many: findMany,
    manyOf: (keys) => ({ names: keys.map((key) => key.name) }),
    idOfKey: (key) => key.name,
    idOfRow: (row) => row.name,
    toValue: (row) => row.id,
  });
  async function findId(name: RepositoryName): Promise<number | undefined> {
    const id = await lookUp({ name });
    if (id === undefined) ids.delete(name);
    else ids.set(name, id);
    return id;
  }
  const recallId = (name: RepositoryName): number | Promise<number | undefined> => ids.get(name) ?? findId(name);
  async function ensure(grant: Grant<"push">): Promise<GrantedRepository<"push">> {
    for (let tries = 0; tries < MAX_TRIES; tries++) {
      const known = await recallId(grant.repository);
      if (known !== undefined) return bind(grant, known);
      await grantedTransaction(database, grant, async (tx, present) => {
        const made = await tx.first(insert, { name: present.repository, projectId: present.projectId, now: clock.now() });
        // No row if another request created it: its present id is looked up again.
        if (made !== undefined)
          await changes.record(tx, present.actor, [{ kind: "repository.created", ...placeOf(bind(present, made.id)) }]);
      });
    }
    // It was created and deleted, time after time.
    throw new RegistryError("CONFLICT", { detail: { repository: grant.repository } });
  }
  return {
    async find(grant) {
      const id = await findId(grant.repository);
      return id === undefined ? undefined : bind(grant, id);
    },
    recall(grant) {
      const id = recallId(grant.repository);
      if (!(id instanceof Promise)) return bind(grant, id);
      return id.then((known) => (known === undefined ? undefined : bind(grant, known)));
    },
    ensure,
    async writing(grant, work) {
      for (let tries = 1; ; tries++) {
        const repository = await ensure(grant);
        try {
          return await work(repository);
        } catch (error) {
          // Any error may be caused by the deletion: what is missing in the deleted repository may well be in the one that came after it.
          const present = await findId(grant.repository).catch(() => repository.id);
          if (present === repository.id) throw error;
          if (tries === MAX_TRIES) throw new RegistryError("CONFLICT", { detail: { repository: grant.repository }, cause: error });
        }
      }
    },
    async delete(grant) {
      const work = async (tx: Executor, present: Grant<"delete">): Promise<void> => {
        refuseNarrowed(present, "delete the repository");
        // Waits for every push that has content for it, and delays those that come later: they find it deleted.
        const row = await tx.first(lock, { name: grant.repository });
        if (row === undefined) throw new RegistryError("NAME_UNKNOWN", { detail: { name: grant.repository } });
        await tx.run(insertDeletedProject, { now: clock.now() }, { any: "it is there but for the first time" });
        await tx.run(markDeleted, { id: row.id, name: `${TOMBSTONE}${row.id}` }, 1);
        await changes.record(tx, present.actor, [{ kind: "repository.deleted", ...placeOf(bind(present, row.id)) }]);
      };
      await grantedTransaction(database, grant, work, ON_FULL_DISK);
      ids.delete(grant.repository);
    },
    listNames: async (projectId, startAfter, through, limit) =>
      (await database.all(listNames, { projectId, startAfter, through, limit })).map((row) => row.name),
    listAllNames: async (startAfter, limit) => (await database.all(listAllNames, { startAfter, limit })).map((row) => row.name),
    listHolding: async (digest, limit) => (await database.all(listHolding, { digest, limit })).map((row) => row.name),
    listHoldingIn: async (digest, projectIds, looked, limit) =>
      (await database.all(holdingIn, { digest, projectIds: [...projectIds], looked, limit })).map((row) => row.name),
    listHoldingAmong: async (digest, names, limit) =>
      (await database.all(holdingAmong, { digest, names: [...names], limit })).map((row) => row.name),
  };
}
