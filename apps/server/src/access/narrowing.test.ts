// Narrowing never widens: over random roles, scopes and patterns of tags, what is narrowed gives a part of what it was, and whoever loses a right gains
// none. Not here: what single patterns name (authorize.test.ts, distribution/narrowed-tags.test.ts), whole worlds (test/flows/explain.test.ts).
import assert from "node:assert/strict";
import { it } from "node:test";
import { parseRepositoryName, type RepositoryName } from "@berth/oci/reference";
import type { Action } from "./caller.ts";
import { boundOf } from "./bounds.ts";
import { judge } from "./judge.ts";
import { rightsIn } from "./rights.ts";
import { type RepositoryRights, type RobotScope, rightsOfScopes } from "./robot-scopes.ts";
import { ROLES, strongestRole } from "./roles.ts";
import { BY_PASSWORD } from "./sign-in.ts";
import type { Membership, ProjectStanding } from "./standing-store.ts";
import type { Account } from "./account-store.ts";
import { parseStoredScopes, storeScopes } from "./stored-scopes.ts";
import { matchesTag } from "./tag-patterns.ts";

const ACTIONS: readonly Action[] = ["pull", "push", "delete"];
const REPOSITORIES = ["own/app", "own/lib/a", "own/lib/a/b", "other/app"].map((name) => parseRepositoryName(name));
const TAGS = ["v1", "v2", "dev-1", "dev", "latest"];
const WORLDS = 3000;
const SEED = Number(process.env["BERTH_TEST_SEED"] ?? 1);

let state = SEED;
function next(): number {
  state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
  return state / 4_294_967_296;
}
const chance = (p: number): boolean => next() < p;
const one = <T>(of: readonly T[]): T => of[Math.floor(next() * of.length)]!;
const some = <T>(of: readonly T[]): T[] => of.filter(() => chance(0.5));

function randomScopes(): RobotScope[] {
  return Array.from({ length: Math.floor(next() * 4) }, () => ({
    repositoryPattern: `own/${one(["app", "*", "**", "lib/*", "lib/**", "lib/a"])}`,
    actions: new Set(some(ACTIONS)),
    ...(chance(0.5) ? { tagPatterns: some(["*", "v*", "dev-*", "v1", "*1"]) } : {}),
  }));
}
const randomMembership = (): Membership => ({
  role: one(ROLES),
  group: chance(0.5) ? undefined : one(["crew", "ops"]),
  scopes: chance(0.6) ? randomScopes() : undefined,
});

function standingOf(memberships: readonly Membership[], isPublic: boolean): ProjectStanding {
  return {
    projectId: 1,
    name: "own",
    isPublic,
    isNarrowed: memberships.some(({ scopes }) => scopes !== undefined),
    role: strongestRole(memberships),
    memberships,
    traits: undefined,
  };
}

const account = (isAuditor: boolean, kind: Account["kind"] = "user"): Account => ({
  id: 1,
  kind,
  name: "ann",
  projectId: undefined,
  secretHash: undefined,
  systemRole: undefined,
  isAdmin: false,
  isAuditor,
  isCreator: false,
  isDisabled: false,
  epoch: 1,
  expiresAt: undefined,
  createdAt: new Date(0),
});

/** Every action and tag that rights let through in a repository; an action alone for content without a tag. */
function reachOf({ actions, tags }: RepositoryRights): Set<string> {
  const reach = new Set<string>();
  for (const action of actions) {
    const patterns = action === "pull" ? undefined : tags?.get(action);
    if (patterns === undefined) reach.add(`${action} anything`);
    for (const tag of TAGS)
      if (patterns === undefined || patterns.some((pattern) => matchesTag(pattern, tag))) reach.add(`${action} ${tag}`);
  }
  return reach;
}

function isPart(less: RepositoryRights, more: RepositoryRights, what: string): void {
  const all = reachOf(more);
  for (const each of reachOf(less)) assert.ok(all.has(each), `${what}: ${each} came by narrowing (seed ${SEED})`);
}

const shown = (value: unknown): string =>
  JSON.stringify(value, (_, each: unknown) => (each instanceof Set ? [...(each as Set<unknown>)] : each));

const rights = (who: Account, memberships: readonly Membership[], isPublic: boolean, repository: RepositoryName): RepositoryRights =>
  rightsIn(who, undefined, standingOf(memberships, isPublic), repository);

it("a membership that is narrowed, narrowed further, or taken away gives a part of what it gave", () => {
  let narrowed = 0;
  for (let world = 0; world < WORLDS; world++) {
    const who = account(chance(0.2));
    const isPublic = chance(0.3);
    const before = Array.from({ length: 1 + Math.floor(next() * 3) }, randomMembership);
    const at = Math.floor(next() * before.length);
    const replace = (by: Membership | undefined): Membership[] =>
      before.flatMap((each, n) => (n !== at ? [each] : by === undefined ? [] : [by]));
    const { scopes, role } = before[at]!;
    const weaker = ROLES[Math.max(0, ROLES.indexOf(role) - 1)]!;
    const changes = [
      replace(undefined),
      replace({ ...before[at]!, role: weaker }),
      replace({ ...before[at]!, scopes: scopes === undefined ? randomScopes() : scopes.slice(1) }),
      replace({ ...before[at]!, scopes: scopes?.map((scope) => ({ ...scope, actions: new Set([...scope.actions].slice(1)) })) ?? [] }),
      replace({
        ...before[at]!,
        scopes: scopes?.map((scope) => ({ ...scope, tagPatterns: (scope.tagPatterns ?? ["v1"]).slice(0, 1) })) ?? [],
      }),
    ];
    for (const repository of REPOSITORIES.slice(0, 3))
      for (const after of changes) {
        const less = rights(who, after, isPublic, repository);
        const more = rights(who, before, isPublic, repository);
        isPart(less, more, `${repository} ${shown(before)} to ${shown(after)}`);
        if (reachOf(less).size < reachOf(more).size) narrowed++;
      }
  }
  assert.ok(narrowed > WORLDS, `${narrowed} of the changes took something`);
});

it("a role with scopes gives no action that the role does not, and none in another project", () => {
  for (let world = 0; world < WORLDS; world++) {
    const membership = randomMembership();
    for (const repository of REPOSITORIES) {
      const isElsewhere = !repository.startsWith("own/");
      const given = rights(account(false), [membership], false, repository);
      if (isElsewhere && membership.scopes !== undefined) assert.equal(given.actions.size, 0, shown(membership));
      isPart(given, rights(account(false), [{ ...membership, scopes: undefined }], false, repository), shown(membership));
    }
  }
});

it("a token gives its user no more than the user has, and a scope that is taken from it nothing new", () => {
  for (let world = 0; world < WORLDS; world++) {
    const who = account(chance(0.2));
    const standing = standingOf([randomMembership()], chance(0.3));
    const scopes = randomScopes().map(({ repositoryPattern, actions }) => ({ repositoryPattern, actions }));
    const caller = (bound: readonly RobotScope[] | undefined) => ({
      kind: "account" as const,
      via: BY_PASSWORD,
      accountId: 1,
      name: "ann",
      isAdmin: false,
      epoch: 1,
      access: undefined,
      personal: bound === undefined ? undefined : { token: "ci", scopes: bound, api: "none" as const },
    });
    for (const repository of REPOSITORIES.slice(0, 3))
      for (const action of ACTIONS) {
        const { actions } = rightsIn(who, undefined, standing, repository);
        const rule = (bound: readonly RobotScope[] | undefined): boolean =>
          judge({ caller: caller(bound), account: who, standing }, actions, action, repository) === "allowed";
        const what = `${action} ${repository} ${shown(scopes)} ${shown(standing)}`;
        if (rule(scopes)) assert.ok(rule(undefined) && boundOf(caller(scopes), repository)?.has(action), what);
        if (rule(scopes.slice(1))) assert.ok(rule(scopes), what);
      }
  }
});

it("scopes that are stored and read again give the same", () => {
  for (let world = 0; world < WORLDS; world++) {
    const scopes = randomScopes();
    const stored = storeScopes(scopes, "own");
    const again = parseStoredScopes(stored, "own");
    for (const repository of REPOSITORIES)
      assert.deepEqual(reachOf(rightsOfScopes(again, "own", repository)), reachOf(rightsOfScopes(scopes, "own", repository)), stored);
  }
});
