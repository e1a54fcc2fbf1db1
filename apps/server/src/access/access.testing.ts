// A whole access layer on a test database, with a clock that tests set, and functions that create accounts and projects.
import { type Clock, DAY_MS } from "../platform/clock.ts";
import { createCredentialUse, type CredentialUse } from "./credential-use.ts";
import type { Database } from "../platform/database/database.ts";
import { statement } from "../platform/database/statement.ts";
import { findAccount, insertAccount, updateAccount, type Account } from "./account-store.ts";
import { createAccounts, type Accounts } from "./accounts.ts";
import { createAuthenticator, type Authenticator } from "./authenticate.ts";
import { createAuthorizer, type Authorizer } from "./authorize.ts";
import type { AccountCaller, Action } from "./caller.ts";
import { createIssuerKeys, type FetchJson, type IssuerKeys } from "./issuer-keys.ts";
import { createLoginFailures, type LoginFailures } from "./login-failures.ts";
import { createLoginPlaces } from "./login-places.ts";
import { putMember } from "./member-store.ts";
import type { ProjectTrait } from "./project-traits.ts";
import { putRobotScopes } from "./robot-store.ts";
import type { Role, SystemRole } from "./roles.ts";
import { createPasswordHasher, generateSecret, hashSecret, type PasswordHasher } from "./secrets.ts";
import { createRefreshTokens, type RefreshTokens } from "./refresh-tokens.ts";
import { createSigningKeys, type SigningKeys } from "./signing-keys.ts";
import { createSeal } from "./seal.ts";
import { createSessions, type Sessions } from "./sessions.ts";
import { createTokenExchange, type TokenExchange } from "./token-exchange.ts";
import { createTokens, type Tokens } from "./tokens.ts";
import { BY_PASSWORD } from "./sign-in.ts";

/** A clock that stands until it is moved. */
export interface TestClock extends Clock {
  advance(ms: number): void;
}

/** Creates a clock that stands at a fixed time. */
export function createTestClock(): TestClock {
  let now = Date.UTC(2026, 0, 1);
  return {
    now: () => now,
    advance(ms) {
      now += ms;
    },
  };
}

/** One replica's access layer. */
export interface TestAccess {
  readonly issuerKeys: IssuerKeys;
  readonly tokenExchange: TokenExchange;
  readonly accounts: Accounts;
  readonly authorizer: Authorizer;
  readonly signingKeys: SigningKeys;
  readonly tokens: Tokens;
  readonly passwords: PasswordHasher;
  readonly loginFailures: LoginFailures;
  readonly credentialUse: CredentialUse;
  readonly refreshTokens: RefreshTokens;
  readonly sessions: Sessions;
  readonly authenticator: Authenticator;
}

/** The master key of tests. */
export const TEST_MASTER_KEY = Buffer.alloc(32, 7);
/** The password of users created by `addUser`. */
export const TEST_PASSWORD = "correct horse battery staple";
/** The address that tests log in from. */
export const TEST_ADDRESS = "192.0.2.1";

/** Creates a replica. */
export function createTestAccess(
  database: Database,
  clock: Clock,
  traits: readonly ProjectTrait[] = [],
  fetchJson: FetchJson = async () => fail(new Error("no issuer is fetched from here")),
): TestAccess {
  const accounts = createAccounts({ database, clock, traits });
  const authorizer = createAuthorizer({ accounts, database, clock });
  const signingKeys = createSigningKeys({ database, clock, masterKey: TEST_MASTER_KEY });
  const tokens = createTokens({
    signingKeys,
    authorizer,
    clock,
    issuer: "berth",
    service: "registry.test",
    lifetimeSeconds: 300,
    defaultProject: undefined,
  });
  const passwords = createPasswordHasher();
  const places = createLoginPlaces({ database, clock, masterKey: TEST_MASTER_KEY, onError: fail });
  const loginFailures = createLoginFailures({ database, clock, places, masterKey: TEST_MASTER_KEY });
  const credentialUse = createCredentialUse(database, clock, { refresh: 30 * DAY_MS, session: DAY_MS / 2 }, fail);
  const unheard = { wants: () => false, record: async () => undefined };
  const refreshTokens = createRefreshTokens({ database, clock, changes: unheard, idleMs: 30 * DAY_MS, maxMs: 365 * DAY_MS });
  const seal = createSeal(TEST_MASTER_KEY, "sessions");
  const sessions = createSessions({ database, clock, accounts, changes: unheard, seal, idleMs: DAY_MS / 2, maxMs: 7 * DAY_MS });
  const issuerKeys = createIssuerKeys({ database, clock, fetchJson });
  const tokenExchange = createTokenExchange({ database, clock, accounts, keys: issuerKeys });
  const authenticator = createAuthenticator({
    accounts,
    tokens,
    passwords,
    loginFailures,
    credentialUse,
    clock,
    takeIdToken: (token, robot) => tokenExchange.exchange(token, robot, "password"),
  });
  return {
    issuerKeys,
    tokenExchange,
    accounts,
    authorizer,
    signingKeys,
    tokens,
    passwords,
    loginFailures,
    credentialUse,
    refreshTokens,
    sessions,
    authenticator,
  };
}

function fail(error: unknown): never {
  throw error;
}

const insertProject = statement<{ name: string; sortKey: string; isPublic: number; now: number }>()("test.insert_project", (db, p) =>
  db.insertInto("project").values({ name: p.name, sort_key: p.sortKey, is_public: p.isPublic, created_at: p.now }).returning("id"),
);

/** Adds a project; returns its id. */
export async function addProject(database: Database, name: string, isPublic = false): Promise<number> {
  const [row] = await database.write(insertProject, { name, sortKey: `${name}/`, isPublic: isPublic ? 1 : 0, now: 1 });
  return row!.id;
}

/** Adds a user with `TEST_PASSWORD` and roles by project id. */
export async function addUser(
  database: Database,
  name: string,
  options: { isAdmin?: boolean; systemRole?: SystemRole; roles?: ReadonlyMap<number, Role>; secretHash?: string } = {},
): Promise<number> {
  const secretHash = options.secretHash ?? (await createPasswordHasher().hash(TEST_PASSWORD));
  return database.transaction(async (tx) => {
    const systemRole = options.isAdmin === true ? "administrator" : options.systemRole;
    const id = (await insertAccount(tx, { kind: "user", name, secretHash, systemRole }, 1))!;
    for (const [projectId, role] of options.roles ?? []) await putMember(tx, projectId, id, role);
    return id;
  });
}

/** Adds a robot with scopes by pattern; returns its id and secret. */
export async function addRobot(
  database: Database,
  name: string,
  projectId: number | undefined,
  scopes: Readonly<Record<string, readonly Action[]>>,
): Promise<{ id: number; secret: string }> {
  const secret = generateSecret("robot");
  const id = await database.transaction(async (tx) => {
    const added = (await insertAccount(
      tx,
      { kind: "robot", name, secretHash: hashSecret(secret), ...(projectId === undefined ? {} : { projectId }) },
      1,
    ))!;
    await putRobotScopes(
      tx,
      added,
      Object.entries(scopes).map(([repositoryPattern, actions]) => ({ repositoryPattern, actions: new Set(actions) })),
    );
    return added;
  });
  return { id, secret };
}

/** Changes an account as a feature would. */
export async function changeAccount(database: Database, id: number, change: Partial<Account>, endsTokens: boolean): Promise<void> {
  await database.transaction(async (tx) => updateAccount(tx, { ...(await findAccount(tx, id))!, ...change }, endsTokens));
}

/** A caller with Basic credentials. */
export async function callerOf(database: Database, id: number): Promise<AccountCaller> {
  const account = (await findAccount(database, id))!;
  const { name, isAdmin, epoch } = account;
  return { kind: "account", accountId: id, name, isAdmin, epoch, via: BY_PASSWORD, access: undefined };
}

/** A Basic `Authorization` header. */
export function basic(name: string, secret: string): string {
  return `Basic ${Buffer.from(`${name}:${secret}`).toString("base64")}`;
}
