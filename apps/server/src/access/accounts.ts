// Cached accounts and rights, at most half a second old: every request is checked against them.
// Not here: the tables (account-store.ts, member-store.ts, robot-store.ts), decisions (authorize.ts).
import { LRUCache } from "lru-cache";
import type { Clock } from "../platform/clock.ts";
import type { Database, Executor } from "../platform/database/database.ts";
import { statement } from "../platform/database/statement.ts";
import { findAccount, findAccountByName, type Account } from "./account-store.ts";
import { findCredential, findCredentialByHash, type Credential } from "./credential-store.ts";
import { createTtlCache } from "./ttl-cache.ts";
import { PROJECT_NETWORKS } from "./network-rules.ts";
import { createReadTraits, type ProjectTrait, type ReadTraits } from "./project-traits.ts";
import { listRobotScopes } from "./robot-store.ts";
import type { RobotScope } from "./robot-scopes.ts";
import { robotLoginName } from "./roles.ts";
import { findStanding, type ProjectStanding } from "./standing-store.ts";

/** The look-ups on which decisions are based. */
export interface Rights {
  find(id: number): Account | undefined | Promise<Account | undefined>;
  /** The project and the account's role in it; account undefined for anonymous callers. One look-up, whether or not it exists. */
  findStanding(accountId: number | undefined, projectName: string): ProjectStanding | undefined | Promise<ProjectStanding | undefined>;
  /** The name of a robot's project. */
  findProjectName(projectId: number): string | undefined | Promise<string | undefined>;
  findScopes(accountId: number): readonly RobotScope[] | Promise<readonly RobotScope[]>;
  /** What somebody signed in with. */
  findCredential(id: number): Credential | undefined | Promise<Credential | undefined>;
}

/**
 * The object of a change, by login name and project name: everything of one of them, or the account's membership of the project if both are
 * given.
 */
export interface Changed {
  readonly account?: string | undefined;
  readonly project?: string | undefined;
}

/** Rights that are at most half a second old on every replica, and current on the one that made a change. */
export interface Accounts extends Rights {
  findByName(name: string): Account | undefined | Promise<Account | undefined>;
  /** The credential whose secret has this hash. */
  findCredentialByHash(hash: string): Credential | undefined | Promise<Credential | undefined>;
  /** Reads a project's traits as this program knows them. */
  readonly readTraits: ReadTraits;
  /** Rights as a transaction sees them. */
  seenBy(tx: Executor): Rights;
  /** Must be called after every committed change of an account, a membership, a scope or a project. Undefined: anything may have changed. */
  forget(changed?: Changed): void;
  /** The number of such calls: a value that was looked up under another number may be outdated. */
  changes(): number;
}

/** A revoked right must end within a second everywhere: half of it for the cache, half for decisions based on it (`RENEW_AFTER_MS`). */
const TTL_MS = 500;
/** The entries of each kind; about 10 MB when all are full. */
const MAX_ENTRIES = 10_000;
/** No account has this id. */
const NOBODY = 0;

const projectName = statement<{ id: number }>()("access.project_name", (db, p) =>
  db.selectFrom("project").select("name").where("id", "=", p.id),
);

async function findName(executor: Executor, id: number): Promise<string | undefined> {
  return (await executor.first(projectName, { id }))?.name;
}

function rightsSeenBy(tx: Executor, readTraits: ReadTraits): Rights {
  return {
    find: (id) => findAccount(tx, id),
    findStanding: (accountId, name) => findStanding(tx, readTraits, accountId ?? NOBODY, name),
    findProjectName: (id) => findName(tx, id),
    findScopes: (id) => listRobotScopes(tx, id),
    findCredential: (id) => findCredential(tx, id),
  };
}

/** What the look-ups need. */
export interface AccountsParts {
  readonly database: Database;
  readonly clock: Clock;
  /** The traits of features that this program knows, besides access's own; none if it is not given. */
  readonly traits?: readonly ProjectTrait[] | undefined;
  /**
   * Called once for an account in use whose tokens have ended since it was last looked up, although nobody changed it here: its password
   * was changed by another replica, or on the machine.
   */
  readonly onChangedElsewhere?: (account: Account) => void;
  /** `WRITE_DELAY_MS` where it is not given. */
  readonly writeDelayMs?: number;
}

/**
 * How long a process that changed an account may need to report it: a look-up may see the change before its commit is durable and
 * acknowledged.
 */
const WRITE_DELAY_MS = 2_000;

/** Creates the look-ups. */
export function createAccounts({
  database,
  clock,
  traits = [],
  onChangedElsewhere,
  writeDelayMs = WRITE_DELAY_MS,
}: AccountsParts): Accounts {
  const readTraits = createReadTraits([PROJECT_NETWORKS, ...traits]);
  let changes = 0;
  /** The epoch of each account when it was last seen, as long as nobody changed one here. */
  const seen = new LRUCache<number, number>({ max: MAX_ENTRIES });

  async function watched(load: Promise<Account | undefined>): Promise<Account | undefined> {
    const before = changes;
    const account = await load;
    // A change made here meanwhile may concern this very account.
    if (account === undefined || before !== changes) return account;
    const last = seen.get(account.id);
    // Look-ups by id and by name may overtake each other.
    if (last !== undefined && account.epoch <= last) return account;
    seen.set(account.id, account.epoch);
    if (last !== undefined && onChangedElsewhere !== undefined) {
      setTimeout(() => {
        if (before === changes) onChangedElsewhere(account);
      }, writeDelayMs).unref();
    }
    return account;
  }

  const common = { maxEntries: MAX_ENTRIES, ttlMs: TTL_MS, clock };
  const byId = createTtlCache<number, Account | undefined>({ ...common, load: (id) => watched(findAccount(database, id)) });
  const byName = createTtlCache<string, Account | undefined>({ ...common, load: (name) => watched(findAccountByName(database, name)) });
  const scopes = createTtlCache<number, readonly RobotScope[]>({ ...common, load: (id) => listRobotScopes(database, id) });
  const credentials = createTtlCache<number, Credential | undefined>({ ...common, load: (id) => findCredential(database, id) });
  const byHash = createTtlCache<string, Credential | undefined>({ ...common, load: (hash) => findCredentialByHash(database, hash) });
  const names = createTtlCache<number, string | undefined>({ ...common, load: (id) => findName(database, id) });
  const standings = createTtlCache<string, ProjectStanding | undefined>({
    ...common,
    load(key) {
      const colon = key.indexOf(":");
      return findStanding(database, readTraits, Number(key.slice(0, colon)), key.slice(colon + 1));
    },
  });
  /** All of an account, or its standing in one project. */
  function forgetAccount(name: string, project: string | undefined): void {
    let id: number | undefined;
    byName.forgetWhere((key, account) => {
      if (key === name) id = account?.id;
      return key === name;
    });
    byId.forgetWhere((key, account) => {
      if (account?.name === name) id = key;
      // The value being looked up may be this one.
      return account === undefined || account.name === name;
    });
    const isIts = (_: unknown, credential: Credential | undefined): boolean =>
      id === undefined || credential === undefined || credential.accountId === id;
    credentials.forgetWhere(isIts);
    byHash.forgetWhere(isIts);
    if (id === undefined) {
      // It was not used recently, so values that depend on it probably were not either; but that is not certain.
      seen.clear();
      scopes.clear();
      standings.clear();
      return;
    }
    const prefix = `${id}:`;
    seen.delete(id);
    scopes.forget(id);
    if (project === undefined) standings.forgetWhere((key) => key.startsWith(prefix));
    else standings.forget(prefix + project);
  }

  /** A project, every account's standing in it, and its robots. */
  function forgetProject(project: string): void {
    standings.forgetWhere((key) => key.slice(key.indexOf(":") + 1) === project);
    names.forgetWhere((_, name) => name === undefined || name === project);
    const robots = robotLoginName(project, "");
    byName.forgetWhere((name) => name.startsWith(robots));
    byId.forgetWhere((id, account) => {
      const isIt = account === undefined || account.name.startsWith(robots);
      if (isIt) scopes.forget(id);
      return isIt;
    });
  }

  return {
    find: byId.get,
    findByName: byName.get,
    findStanding: (accountId, name) => standings.get(`${accountId ?? NOBODY}:${name}`),
    findProjectName: names.get,
    findScopes: scopes.get,
    findCredential: credentials.get,
    findCredentialByHash: byHash.get,
    readTraits,
    seenBy: (tx) => rightsSeenBy(tx, readTraits),
    changes: () => changes,
    forget(changed) {
      changes++;
      if (changed?.account === undefined && changed?.project === undefined) {
        seen.clear();
        for (const cache of [byId, byName, scopes, credentials, byHash, names, standings]) cache.clear();
      } else if (changed.account === undefined) forgetProject(changed.project!);
      else forgetAccount(changed.account, changed.project);
    },
  };
}

/** Whether an account may be used now. One of an unknown kind may not. */
export function isUsable(account: Account, now: number): boolean {
  const isKnown = account.kind === "user" || account.kind === "robot";
  return isKnown && !account.isDisabled && (account.expiresAt === undefined || account.expiresAt.getTime() > now);
}
