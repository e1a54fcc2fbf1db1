// What an answer must not reveal, the work must not reveal either: of two requests with the same answer, one about something that exists
// and may not be read, both run the same statements in the same order, and as many hashes. On both databases, with empty and with filled
// caches. Not here: the texts (test/flows/access-matrix.test.ts), known differences (docs/decisions/0041-same-work.md).
import assert from "node:assert/strict";
import { after, before, it } from "node:test";
import type { Operation } from "@berth/api/operation";
import * as projects from "@berth/api/projects";
import * as repositories from "@berth/api/repositories";
import { projectRobots } from "@berth/api/robots";
import * as users from "@berth/api/users";
import { parseDigest, type Digest } from "@berth/oci/digest";
import { parseRepositoryName, type Reference, type Tag } from "@berth/oci/reference";
import {
  addProject,
  addRobot,
  addUser,
  basic,
  callerOf,
  changeAccount,
  createTestAccess,
  createTestClock,
  TEST_ADDRESS,
  TEST_PASSWORD,
  type TestAccess,
  TEST_MASTER_KEY,
} from "./access/access.testing.ts";
import { insertAccount } from "./access/account-store.ts";
import { actorOf } from "./access/actor.ts";
import type { Caller, Grant, TokenAccess } from "./access/caller.ts";
import { createPasswordHasher, generateSecret } from "./access/secrets.ts";
import { createMemoryBlobs, createMemoryStore } from "./content/blobs/memory.ts";
import { blobOf, createContent, NOBODY_WANTS, putOf, upload, type Content } from "./content/content.testing.ts";
import { interceptDatabase } from "./content/intercept.testing.ts";
import { createReferrers } from "./content/referrers.ts";
import { DELETIONS } from "./tables.ts";
import { createListPlaces } from "./distribution/list-places.ts";
import { createLists, type Lists } from "./distribution/lists.ts";
import { createMount, type Mount } from "./distribution/mount.ts";
import { createPull, type Pull } from "./distribution/pull.ts";
import { createPush, type Push } from "./distribution/push.ts";
import { type ApiContext, createProve, type Prove } from "./features/api-route.ts";
import { createUsers, type Users } from "./features/accounts/accounts.ts";
import { createProjects, type Projects } from "./features/projects/projects.ts";
import { createProjectRepositories, type ProjectRepositories } from "./features/repositories/repositories.ts";
import { createRobots, type Robots } from "./features/robots/robots.ts";
import { forEachDatabase, type TestDatabase } from "./platform/database/databases.testing.ts";

const ANYBODY: Caller = { kind: "anonymous", via: { kind: "none" }, access: undefined };
const layer = blobOf("what others have ");
const shared = blobOf("what the caller has too ");
const config = blobOf("config", 1);
const image = putOf([config, layer], ["v1"]);
const ABSENT = parseDigest(`sha256:${"0".repeat(64)}`);
/** Names of equal length: a repository that may not be read, one that does not exist, and one without a project. */
const SECRET = parseRepositoryName("oth/app");
const NONE = [parseRepositoryName("oth/abs"), parseRepositoryName("non/app")];
const TARGET = parseRepositoryName("own/new");
/** Repositories that have a blob, so many that trying each would show. */
const HOLDERS = 60;

/** One process of the registry with empty caches. */
interface Process extends TestAccess {
  readonly content: Content;
  readonly pull: Pull;
  readonly push: Push;
  readonly mount: Mount;
  readonly lists: Lists;
  readonly projects: Projects;
  readonly repositories: ProjectRepositories;
  readonly robots: Robots;
  readonly users: Users;
  readonly prove: Prove;
  /** The statements so far. */
  readonly steps: string[];
}

type Request = (on: Process) => Promise<unknown>;

forEachDatabase("work", (create) => {
  let test: TestDatabase;
  const clock = createTestClock();
  const memory = createMemoryBlobs();
  const callers = new Map<string, Caller>();
  let robotSecret: string;

  function start(): Process {
    const steps: string[] = [];
    const hook = async (step: string, phase: string): Promise<void> => {
      if (phase === "before") steps.push(step);
    };
    const database = interceptDatabase(test.database, hook, true);
    const access = createTestAccess(database, clock);
    const content = createContent(database, createMemoryStore({ processId: "p", memory }), clock);
    const parts = {
      ...access,
      ...content,
      referrers: createReferrers(database),
      places: createListPlaces(TEST_MASTER_KEY),
      deletions: DELETIONS,
      changes: NOBODY_WANTS,
    };
    return {
      ...access,
      content,
      pull: createPull({ ...parts, ports: {} }),
      push: createPush({ ...parts, acceptSparseImages: false }),
      mount: createMount(parts),
      lists: createLists(parts),
      projects: createProjects({ ...parts, runTimeSettings: { ownedPerUser: 100 } }),
      repositories: createProjectRepositories(parts),
      robots: createRobots(parts),
      users: createUsers(parts),
      prove: createProve(access.authorizer, () => "administrators"),
      steps,
    };
  }

  function grantIn(projectId: number, name: string): Grant<"push"> {
    const grant = {
      action: "push",
      repository: parseRepositoryName(name),
      projectId,
      actor: actorOf(undefined, undefined),
      renew: () => grant,
    } as Grant<"push">;
    return grant;
  }

  /** The statements of a request in a process without cached accounts and rights, and then once more. */
  async function workOf(
    request: Request,
    process = start(),
  ): Promise<{ first: string[]; again: string[]; hashes: number; answers: string[] }> {
    const hashesBefore = process.passwords.runs();
    process.accounts.forget();
    process.steps.length = 0;
    const answer = async (): Promise<string> => {
      try {
        return JSON.stringify((await request(process)) ?? null);
      } catch (error) {
        const { code, name } = error as { code?: string; name: string };
        return code ?? name;
      }
    };
    const answers = [await answer()];
    const first = process.steps.splice(0);
    answers.push(await answer());
    return { first, again: process.steps.slice(), hashes: process.passwords.runs() - hashesBefore, answers };
  }

  async function assertAlike(what: string, requests: readonly Request[], process?: Process): Promise<void> {
    const [expected, ...others] = await Array.fromAsync(requests, async (request) => workOf(request, process));
    assert.ok(expected !== undefined && others.length > 0);
    for (const each of others) assert.deepEqual(each, expected, what);
  }

  before(async () => {
    test = await create();
    const { database } = test;
    const secretHash = await createPasswordHasher().hash(TEST_PASSWORD);
    const [own, other, reading] = [
      await addProject(database, "own"),
      await addProject(database, "oth"),
      await addProject(database, "pub", true),
    ];
    const content = createContent(database, createMemoryStore({ processId: "p", memory }), clock);
    const secret = grantIn(other, SECRET);
    for (const blob of [config, layer]) await upload(content, secret, blob);
    await content.repositories.writing(secret, (repository) => content.manifests.put(repository, image));
    for (let i = 0; i < HOLDERS; i++) {
      await upload(content, grantIn(other, `oth/holder${i}`), layer);
      await content.repositories.ensure(grantIn(i % 2 === 0 ? own : reading, `${i % 2 === 0 ? "own" : "pub"}/holder${i}`));
    }
    await upload(content, grantIn(own, "own/base"), shared);

    const add = async (name: string, roles: [number, "guest" | "developer" | "maintainer" | "owner"][]): Promise<void> => {
      callers.set(name, await callerOf(database, await addUser(database, name, { roles: new Map(roles), secretHash })));
    };
    await add("stranger", []);
    await add("guest", [[own, "guest"]]);
    await add("developer", [[own, "developer"]]);
    await add("maintainer", [[own, "maintainer"]]);
    await add("owner", [[own, "owner"]]);
    const disabled = await addUser(database, "disabled", { secretHash });
    await changeAccount(database, disabled, { isDisabled: true }, true);
    const robots = {
      "own+whole": await addRobot(database, "own+whole", own, { "own/**": ["pull", "push"] }),
      "own+part": await addRobot(database, "own+part", own, { "own/new": ["pull", "push"], "own/base": ["pull"] }),
      "+wide": await addRobot(database, "+wide", undefined, { "own/**": ["pull", "push"], "pub/*": ["pull"] }),
    };
    for (const [name, { id }] of Object.entries(robots)) callers.set(name, await callerOf(database, id));
    robotSecret = robots["own+whole"].secret;
  });
  after(() => test.end());

  /** Each caller with Basic credentials, and with tokens that name nothing, the target alone, or the secrets as well. */
  function* forms(names: readonly string[]): Generator<[string, Caller]> {
    const access = (...repositories: string[]): TokenAccess =>
      new Map(repositories.map((each) => [parseRepositoryName(each), new Set(["pull", "push", "delete"] as const)]));
    for (const name of names) {
      const caller = callers.get(name)!;
      yield [name, caller];
      yield [`${name} by a token`, { ...caller, access: new Map() }];
      yield [`${name} by a token for the target`, { ...caller, access: access(TARGET) }];
      yield [`${name} by a token for all`, { ...caller, access: access(TARGET, SECRET, ...NONE) }];
    }
  }
  const everybody = (): string[] => [...callers.keys()];
  const pushers = ["developer", "maintainer", "owner", "own+whole", "own+part", "+wide"];

  it("of a mount is the same whether others have the blob, or nobody", async () => {
    const process = start();
    for (const [who, caller] of forms(pushers)) {
      const mount =
        (digest: Digest, from?: string): Request =>
        async (on) =>
          on.mount.mount(
            caller,
            await on.authorizer.authorize({ ...caller, access: undefined }, "push", TARGET),
            digest,
            from === undefined ? undefined : parseRepositoryName(from),
          );
      await assertAlike(`${who}, from wherever it is`, [mount(layer.digest), mount(ABSENT)], process);
      await assertAlike(
        `${who}, from what may not be read`,
        [SECRET, ...NONE].flatMap((from) => [mount(layer.digest, from), mount(ABSENT, from)]),
        process,
      );
    }
  });

  it("of a mount is found by, where the caller may read", async () => {
    // This ensures that the test above covers a mount that really looks.
    for (const who of pushers) {
      const caller = callers.get(who)!;
      const process = start();
      const grant = await process.authorizer.authorize(caller, "push", parseRepositoryName("own/new"));
      assert.equal((await process.mount.mount(caller, grant, shared.digest, undefined)).isMounted, true, who);
    }
  });

  it("of every request of the data plane is the same whether a private repository is there or not", async () => {
    const process = start();
    const tag: Reference = { kind: "tag", tag: "v1" as Tag };
    const digest: Reference = { kind: "digest", digest: image.digest };
    const page = { artifactType: undefined, last: "", limit: 10 };
    const requests: Record<string, (caller: Caller, name: typeof SECRET) => Request> = {
      "manifest by tag": (caller, name) => async (on) => on.pull.resolveManifest(caller, name, tag),
      "manifest by digest": (caller, name) => async (on) => on.pull.resolveManifest(caller, name, digest),
      blob: (caller, name) => async (on) => on.pull.resolveBlob(caller, name, layer.digest),
      tags: (caller, name) => async (on) => on.lists.tags(caller, name, "", 10),
      referrers: (caller, name) => async (on) => on.lists.referrers(caller, name, image.digest, page),
      "begin of a push": (caller, name) => async (on) => on.push.authorize(caller, name),
      "begin of an upload": (caller, name) => async (on) => on.push.authorizeUpload(caller, name),
      "deletion of a tag": (caller, name) => async (on) => on.push.deleteManifest(caller, name, tag),
      "deletion of a manifest": (caller, name) => async (on) => on.push.deleteManifest(caller, name, digest),
      "deletion of a blob": (caller, name) => async (on) => on.push.deleteBlob(caller, name, layer.digest),
      "what a token may hold": (caller, name) => async (on) => [...(await on.authorizer.allowed(caller, name))],
    };
    const byToken: Caller = { ...ANYBODY, access: new Map([[SECRET, new Set(["pull"] as const)]]) };
    const nobody: Record<string, Caller> = { anonymous: ANYBODY, "anonymous by a token": byToken };
    for (const [who, caller] of [...Object.entries(nobody), ...forms(everybody())]) {
      for (const [what, request] of Object.entries(requests))
        await assertAlike(
          `${what}, ${who}`,
          [SECRET, ...NONE].map((name) => request(caller, name)),
          process,
        );
    }
  });

  it("of every request of the control plane is the same whether a private project is there or not", async () => {
    const process = start();
    // Like the server: the operation's permission is checked, and the rule gets the proof.
    function ask<O extends Operation>(
      { permission }: O,
      run: (on: Process, context: Pick<ApiContext<O["permission"]>, "grant" | "caller">) => Promise<unknown>,
      params: object = {},
    ): (caller: Caller, project: string) => Request {
      return (caller, project) => async (on) => {
        const grant = (await on.prove(permission, caller, { project, ...params })) as ApiContext<O["permission"]>["grant"];
        return run(on, { grant, caller });
      };
    }
    const ofApp = { repository: "app" };
    const requests: Record<string, (caller: Caller, project: string) => Request> = {
      get: ask(projects.getProject, (on, { grant }) => on.projects.get(grant)),
      update: ask(projects.updateProject, (on, { grant }) => on.projects.update(grant, { visibility: "public" })),
      delete: ask(projects.deleteProject, (on, { grant }) => on.projects.delete(grant)),
      members: ask(projects.listMembers, (on, { grant }) => on.projects.listMembers(grant, {})),
      "member put": ask(projects.putMember, (on, { grant }) => on.projects.putMember(grant, "stranger", { role: "guest" })),
      "member deleted": ask(projects.deleteMember, (on, { grant }) => on.projects.deleteMember(grant, "stranger")),
      repositories: ask(repositories.listRepositories, (on, { grant, caller }) => on.repositories.list(caller, grant, {})),
      repository: ask(repositories.getRepository, (on, { grant }) => on.repositories.get(grant), ofApp),
      "repository deleted": ask(repositories.deleteRepository, (on, { grant }) => on.repositories.delete(grant), ofApp),
      robots: ask(projectRobots.list, (on, { grant }) => on.robots.list(grant, {})),
      robot: ask(projectRobots.get, (on, { grant }) => on.robots.get(grant, "whole")),
      "robot created": ask(projectRobots.create, (on, { grant }) => on.robots.create(grant, { name: "new", scopes: [] })),
      "robot updated": ask(projectRobots.update, (on, { grant }) => on.robots.update(grant, "whole", { isDisabled: true })),
      "robot's secret": ask(projectRobots.rotateSecret, (on, { grant }) => on.robots.rotateSecret(grant, "whole")),
      "robot deleted": ask(projectRobots.delete, (on, { grant }) => on.robots.delete(grant, "whole")),
    };
    for (const [who, caller] of [["anonymous", ANYBODY] as [string, Caller], ...forms(everybody())]) {
      for (const [what, request] of Object.entries(requests))
        await assertAlike(`${what}, ${who}`, [request(caller, "oth"), request(caller, "non")], process);
    }
  });

  it("of lists is the same however much there is that may not be read", async () => {
    const process = start();
    const look = async (): Promise<unknown[]> => {
      const seen: unknown[] = [];
      for (const [who, caller] of forms(everybody())) {
        const catalog = { ...caller, namesCatalog: true };
        seen.push(who, await workOf(async (on) => on.lists.catalog(catalog, "", 5), process));
        seen.push(await workOf(async (on) => on.lists.catalog(catalog, "m", 5), process));
        seen.push(await workOf(async (on) => on.projects.list(caller, { limit: 5 }), process));
      }
      return seen;
    };
    const before = await look();
    for (let i = 0; i < 120; i++) {
      const grant = grantIn(await addProject(test.database, `op${i}`), `op${i}/app`);
      await process.content.repositories.ensure(grant);
    }
    assert.deepEqual(await look(), before);
  });

  const anyRevision = { check: () => undefined };

  it("of requests about accounts is the same whether there is one of the name", async () => {
    const process = start();
    for (const [who, caller] of forms(everybody())) {
      const administratorOn = (on: Process) => on.prove(users.getUser.permission, caller, {});
      const requests: Record<string, (name: string) => Request> = {
        user: (name) => async (on) => on.users.get(await administratorOn(on), name),
        "user created": (name) => async (on) => on.users.create(await administratorOn(on), { name, password: "a long new password" }),
        "user updated": (name) => async (on) => on.users.update(await administratorOn(on), name, { isDisabled: true }, anyRevision),
        "user deleted": (name) => async (on) => on.users.delete(await administratorOn(on), name, anyRevision),
      };
      for (const [what, request] of Object.entries(requests))
        await assertAlike(`${what}, ${who}`, [request("stranger"), request("nobody-is-called-so")], process);
      await assertAlike(`project created, ${who}`, [
        async (on) => on.projects.create(await on.prove(projects.createProject.permission, caller, {}), { name: "oth" }),
        async (on) => on.projects.create(await on.prove(projects.createProject.permission, caller, {}), { name: "non" }),
      ]);
    }
    const owner = callers.get("owner")!;
    await assertAlike("who is no member", [
      async (on) => on.projects.deleteMember(await on.prove(projects.deleteMember.permission, owner, { project: "own" }), "stranger"),
      async (on) =>
        on.projects.deleteMember(await on.prove(projects.deleteMember.permission, owner, { project: "own" }), "nobody-is-called-so"),
      async (on) => on.projects.deleteMember(await on.prove(projects.deleteMember.permission, owner, { project: "own" }), "disabled"),
    ]);
  });

  it("of a login that is refused is the same for an unknown name, a wrong password, a disabled user and one without a password", async () => {
    let address = 0;
    for (const name of ["federated", "federated-too"])
      await test.database.transaction((tx) => insertAccount(tx, { kind: "user", name, secretHash: undefined }, clock.now()));
    const login = (name: string, secret: string): Request => {
      // Each from an address of its own, so that no earlier guess has locked it.
      const from = `198.51.100.${++address}`;
      return async (on) => on.authenticator.authenticate(basic(name, secret), from);
    };
    await assertAlike("users", [
      login("stranger", "a wrong password"),
      login("unknown-one", "a wrong password"),
      login("unknown-two", TEST_PASSWORD),
      login("disabled", "a wrong password"),
      login("disabled", TEST_PASSWORD),
      login("federated", "a wrong password"),
      login("federated", TEST_PASSWORD),
    ]);
    // Until it is locked, and afterwards: the counting must be the same as well.
    const guess = async (name: string, secrets: (n: number) => string): Promise<string[][]> => {
      const from = `198.51.100.${++address}`;
      return Array.fromAsync({ length: 8 }, async (_, n) => {
        const { first, answers } = await workOf(async (on) => on.authenticator.authenticate(basic(name, secrets(n)), from));
        return [...answers, ...first];
      });
    };
    const wrong = (n: number): string => `wrong password ${n}`;
    const expected = await guess("unknown-three", wrong);
    assert.match(expected.at(-1)!.join(" "), /TOOMANYREQUESTS/);
    assert.deepEqual(await guess("guest", wrong), expected);
    assert.deepEqual(await guess("federated-too", wrong), expected);
    const disabled = await addUser(test.database, "disabled-too");
    await changeAccount(test.database, disabled, { isDisabled: true }, true);
    assert.deepEqual(await guess("disabled-too", (n) => (n === 0 ? TEST_PASSWORD : wrong(n))), expected);

    await assertAlike("robots", [
      login("own+whole", generateSecret("robot")),
      login("own+unknown", generateSecret("robot")),
      login("non+unknown", robotSecret),
      login("+unknown", robotSecret),
    ]);
    assert.equal(
      (await workOf(async (on) => on.authenticator.authenticate(basic("own+whole", robotSecret), TEST_ADDRESS))).answers.length,
      2,
    );
  });
});
