// Robots: accounts of programs, of a project (managed by its owners) or of the registry (managed by administrators).
// Not here: rows (access/account-store.ts, access/robot-store.ts), scopes (access/robot-scopes.ts).
import { ApiError } from "@berth/api/errors";
import { DEFAULT_PAGE_SIZE } from "@berth/api/limits";
import type { CreateRobotBody, RobotView, RobotWithSecretView, UpdateRobotBody } from "@berth/api/robots";
import { deleteAccount, findAccount, insertAccount, listRobotAccounts, updateAccount, type Account } from "../../access/account-store.ts";
import { changedScopes, type AccountChange } from "../../access/account-changes.ts";
import type { Accounts } from "../../access/accounts.ts";
import type { ChangeSink } from "../../access/changes.ts";
import type { RobotScope } from "../../access/robot-scopes.ts";
import { parseScopeViews, viewScopes } from "../../access/scope-views.ts";
import { listRobotScopes, listScopesOfRobots, putRobotScopes } from "../../access/robot-store.ts";
import { robotLoginName } from "../../access/roles.ts";
import { generateSecret, hashSecret } from "../../access/secrets.ts";
import type { Clock } from "../../platform/clock.ts";
import type { Database } from "../../platform/database/database.ts";
import type { Deletion } from "../../platform/database/deletion.ts";
import { listed, type Listed, type PageRequest } from "../paging.ts";
import { createRightsChange } from "../rights-change.ts";
import { type HomeGrant, homeOf } from "../home.ts";
import { changedRobot, getRobot, lockRobot } from "../robot-home.ts";

/** What the rules need. */
export interface RobotsParts {
  readonly database: Database;
  readonly clock: Clock;
  readonly accounts: Accounts;
  /** Of what refers to an account. */
  readonly deletions: Readonly<Record<"account", Deletion>>;
  readonly changes: ChangeSink<AccountChange>;
}

/** Robots whose scopes are read at a time: 2,000 at most. */
const ROBOT_BATCH = 20;

/** The rules, for callers with the proof of their permission. Their errors are those of the operations of the same name. */
export interface Robots {
  list(grant: HomeGrant, page: PageRequest): Promise<Listed<RobotView>>;
  create(grant: HomeGrant, robot: CreateRobotBody): Promise<RobotWithSecretView>;
  get(grant: HomeGrant, name: string): Promise<RobotView>;
  update(grant: HomeGrant, name: string, change: UpdateRobotBody): Promise<RobotView>;
  rotateSecret(grant: HomeGrant, name: string): Promise<RobotWithSecretView>;
  delete(grant: HomeGrant, name: string): Promise<void>;
}

/** Creates the rules. */
export function createRobots(parts: RobotsParts): Robots {
  const { database, clock, accounts, deletions, changes } = parts;
  const change = createRightsChange(database, accounts);

  function parseExpiry(text: string | null | undefined): Date | undefined {
    if (text === null || text === undefined) return undefined;
    const at = new Date(text);
    if (Number.isNaN(at.getTime()) || at.getTime() <= clock.now()) {
      throw new ApiError("FIELD_INVALID", { detail: [{ field: "body.expiresAt", reason: "must be a time in the future" }] });
    }
    return at;
  }

  return {
    async list(grant, { after, limit = DEFAULT_PAGE_SIZE }) {
      const home = homeOf(grant);
      const from = after === undefined ? "" : robotLoginName(home.projectName, after);
      const found = await listRobotAccounts(database, home.projectId, from, limit + 1);
      const toViews = async (accounts: readonly Account[]): Promise<RobotView[]> => {
        const scopes = await listScopesOfRobots(
          database,
          accounts.map((account) => account.id),
        );
        return accounts.map((account) => toView(account, scopes.get(account.id) ?? []));
      };
      return listed(found, limit, toViews, suffixOf, ROBOT_BATCH);
    },
    async create(grant, { name, scopes, expiresAt, withoutSecret = false }) {
      const home = homeOf(grant);
      const parsed = parseScopeViews(scopes, home.projectName);
      const expiry = parseExpiry(expiresAt);
      const secret = withoutSecret ? undefined : generateSecret("robot");
      const account = await change(
        home,
        { account: robotLoginName(home.projectName, name) },
        async (tx, { actor }) => {
          const id = await insertAccount(
            tx,
            {
              kind: "robot",
              name: robotLoginName(home.projectName, name),
              secretHash: secret === undefined ? undefined : hashSecret(secret),
              ...(home.projectId === undefined ? {} : { projectId: home.projectId }),
              ...(expiry === undefined ? {} : { expiresAt: expiry }),
            },
            clock.now(),
          );
          if (id === undefined) throw new ApiError("ROBOT_EXISTS", { detail: { name } });
          await putRobotScopes(tx, id, parsed);
          const made = (await findAccount(tx, id))!;
          await changes.record(tx, actor, [
            { kind: "robot.created", ...changedRobot(home, made), scopes: changedScopes(parsed), expiresAt: timeOf(made.expiresAt) },
          ]);
          return made;
        },
        {},
      );
      return { ...toView(account, parsed), secret: secret ?? null };
    },
    async get(grant, name) {
      const account = await getRobot(database, homeOf(grant), name);
      return toView(account, await listRobotScopes(database, account.id));
    },
    async update(grant, name, { scopes, expiresAt, isDisabled }) {
      const home = homeOf(grant);
      const parsed = scopes === undefined ? undefined : parseScopeViews(scopes, home.projectName);
      const expiry = parseExpiry(expiresAt);
      return change(home, { account: robotLoginName(home.projectName, name) }, async (tx, { actor }) => {
        const account = await lockRobot(tx, home, name);
        const next: Account = {
          ...account,
          expiresAt: expiresAt === undefined ? account.expiresAt : expiry,
          isDisabled: isDisabled ?? account.isDisabled,
        };
        await updateAccount(tx, next, next.isDisabled !== account.isDisabled || next.expiresAt?.getTime() !== account.expiresAt?.getTime());
        if (parsed !== undefined) await putRobotScopes(tx, account.id, parsed);
        await changes.record(tx, actor, [
          {
            kind: "robot.updated",
            ...changedRobot(home, account),
            isDisabled: next.isDisabled,
            expiresAt: timeOf(next.expiresAt),
            ...(parsed === undefined ? {} : { scopes: changedScopes(parsed) }),
          },
        ]);
        return toView(next, await listRobotScopes(tx, account.id));
      });
    },
    async rotateSecret(grant, name) {
      const home = homeOf(grant);
      const secret = generateSecret("robot");
      const view = await change(home, { account: robotLoginName(home.projectName, name) }, async (tx, { actor }) => {
        const account: Account = { ...(await lockRobot(tx, home, name)), secretHash: hashSecret(secret) };
        await updateAccount(tx, account, true);
        await changes.record(tx, actor, [{ kind: "robot.secret-rotated", ...changedRobot(home, account) }]);
        return toView(account, await listRobotScopes(tx, account.id));
      });
      return { ...view, secret };
    },
    async delete(grant, name) {
      const home = homeOf(grant);
      await change(home, { account: robotLoginName(home.projectName, name) }, async (tx, { actor }) => {
        const account = await lockRobot(tx, home, name);
        await deletions.account.takeAll(tx, account.id);
        await deleteAccount(tx, account.id);
        await changes.record(tx, actor, [{ kind: "robot.deleted", ...changedRobot(home, account) }]);
      });
    },
  };
}

function timeOf(at: Date | undefined): string | null {
  return at?.toISOString() ?? null;
}

function suffixOf(account: Account): string {
  return account.name.slice(account.name.indexOf("+") + 1);
}

function toView(account: Account, scopes: readonly RobotScope[]): RobotView {
  return {
    name: suffixOf(account),
    login: account.name,
    scopes: viewScopes(scopes),
    isDisabled: account.isDisabled,
    hasSecret: account.secretHash !== undefined,
    expiresAt: timeOf(account.expiresAt),
    createdAt: account.createdAt.toISOString(),
  };
}
