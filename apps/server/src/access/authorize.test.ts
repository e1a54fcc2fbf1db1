// The table of rules: the permissions of each account in each project, by Basic and by token, and the answers to others.
import assert from "node:assert/strict";
import { after, before, it } from "node:test";
import { PROJECT_PERMISSIONS, type ProjectPermission } from "@berth/api/permissions";
import { RegistryError } from "@berth/oci/errors";
import { parseRepositoryName, type RepositoryName } from "@berth/oci/reference";
import { forEachDatabase, type TestDatabase } from "../platform/database/databases.testing.ts";
import { addProject, addRobot, addUser, callerOf, createTestAccess, createTestClock, type TestAccess } from "./access.testing.ts";
import type { Action, Caller } from "./caller.ts";
import { challenge, UnauthorizedError } from "./challenge.ts";
import { addGroupMember, insertGroup, LOCAL, putProjectGroup } from "./group-store.ts";
import { putNarrowedMember } from "./member-store.ts";
import { ROLES } from "./roles.ts";
import { NO_SIGN_IN } from "./sign-in.ts";

const ACTIONS: readonly Action[] = ["pull", "push", "delete"];
const NAMES = { own: "own/app", open: "open/app", other: "other/app", unknown: "unknown/app" };

/** For each project: the answers to pull, push and delete, `+` for a grant. */
type Answers = Record<keyof typeof NAMES, [pull: string, push: string, remove: string]>;

const STRANGER: Answers = {
  own: ["NAME_UNKNOWN", "DENIED", "DENIED"],
  open: ["+", "DENIED", "DENIED"],
  other: ["NAME_UNKNOWN", "DENIED", "DENIED"],
  unknown: ["NAME_UNKNOWN", "DENIED", "DENIED"],
};
const ALL: [string, string, string] = ["+", "+", "+"];
const REFUSED: [string, string, string] = ["UNAUTHORIZED", "UNAUTHORIZED", "UNAUTHORIZED"];

const RULES: Record<string, Answers> = {
  anonymous: { own: REFUSED, open: ["+", "UNAUTHORIZED", "UNAUTHORIZED"], other: REFUSED, unknown: REFUSED },
  stranger: STRANGER,
  guest: { ...STRANGER, own: ["+", "DENIED", "DENIED"] },
  developer: { ...STRANGER, own: ["+", "+", "DENIED"] },
  maintainer: { ...STRANGER, own: ALL },
  owner: { ...STRANGER, own: ALL },
  admin: { own: ALL, open: ALL, other: ALL, unknown: ["NAME_UNKNOWN", "NAME_UNKNOWN", "NAME_UNKNOWN"] },
  auditor: {
    own: ["+", "DENIED", "DENIED"],
    open: ["+", "DENIED", "DENIED"],
    other: ["+", "DENIED", "DENIED"],
    unknown: STRANGER.unknown,
  },
  "auditing developer": {
    own: ["+", "+", "DENIED"],
    open: ["+", "DENIED", "DENIED"],
    other: ["+", "DENIED", "DENIED"],
    unknown: STRANGER.unknown,
  },
  creator: STRANGER,
  "robot of the project": { ...STRANGER, own: ["+", "+", "DENIED"] },
  "robot with patterns beyond its project": STRANGER,
  "robot of the registry": { own: ALL, open: ALL, other: ALL, unknown: STRANGER.unknown },
};

forEachDatabase("authorize", (create) => {
  let test: TestDatabase;
  let access: TestAccess;
  const callers = new Map<string, Caller>();
  const clock = createTestClock();

  before(async () => {
    test = await create();
    access = createTestAccess(test.database, clock);
    const own = await addProject(test.database, "own");
    await addProject(test.database, "open", true);
    await addProject(test.database, "other");
    callers.set("anonymous", { kind: "anonymous", via: NO_SIGN_IN, access: undefined });
    const secretHash = "unused";
    callers.set("stranger", await callerOf(test.database, await addUser(test.database, "stranger", { secretHash })));
    for (const role of ROLES) {
      callers.set(role, await callerOf(test.database, await addUser(test.database, role, { roles: new Map([[own, role]]), secretHash })));
    }
    for (const systemRole of ["auditor", "creator"] as const)
      callers.set(systemRole, await callerOf(test.database, await addUser(test.database, systemRole, { systemRole, secretHash })));
    const both = await addUser(test.database, "auditing-developer", {
      systemRole: "auditor",
      roles: new Map([[own, "developer"]]),
      secretHash,
    });
    callers.set("auditing developer", await callerOf(test.database, both));
    callers.set("admin", await callerOf(test.database, await addUser(test.database, "admin", { isAdmin: true, secretHash })));
    const robots: [string, string, number | undefined, Record<string, Action[]>][] = [
      ["robot of the project", "own+ci", own, { "own/*": ["pull", "push"], "own/app/*": ["delete"] }],
      ["robot with patterns beyond its project", "own+bad", own, { "other/**": ["pull", "push"], "**": ["delete"], "ow/**": ["pull"] }],
      ["robot of the registry", "+all", undefined, { "**": ["pull", "push", "delete"] }],
    ];
    for (const [key, name, projectId, scopes] of robots) {
      callers.set(key, await callerOf(test.database, (await addRobot(test.database, name, projectId, scopes)).id));
    }
  });
  after(() => test.end());

  async function answerOf(caller: Caller, action: Action, name: RepositoryName): Promise<string> {
    try {
      const grant = await access.authorizer.authorize(caller, action, name);
      assert.deepEqual(
        [grant.action, grant.repository, grant.actor.accountId],
        [action, name, caller.kind === "account" ? caller.accountId : null],
      );
      return "+";
    } catch (error) {
      assert.ok(error instanceof RegistryError, String(error));
      return error.code;
    }
  }

  async function refusal(caller: Caller, action: Action, name: string): Promise<RegistryError> {
    try {
      await access.authorizer.authorize(caller, action, parseRepositoryName(name));
    } catch (error) {
      assert.ok(error instanceof RegistryError, String(error));
      return error;
    }
    assert.fail("was not refused");
  }

  function bounded(caller: Caller, names: Iterable<[string, readonly Action[]]>): Caller {
    return { ...caller, access: new Map([...names].map(([name, actions]) => [parseRepositoryName(name), new Set(actions)])) };
  }

  for (const [key, answers] of Object.entries(RULES)) {
    it(`answers ${key} by the table`, async () => {
      const caller = callers.get(key)!;
      for (const [project, expected] of Object.entries(answers) as [keyof Answers, string[]][]) {
        const name = parseRepositoryName(NAMES[project]);
        const basic = await Promise.all(ACTIONS.map((action) => answerOf(caller, action, name)));
        assert.deepEqual(basic, expected, `${project} by Basic`);
        // A token for all of it changes nothing; its rights are looked up each time.
        const full = bounded(caller, [[NAMES[project], ACTIONS]]);
        assert.deepEqual(await Promise.all(ACTIONS.map((action) => answerOf(full, action, name))), expected, `${project} by a full token`);
        const granted = ACTIONS.filter((_, i) => expected[i] === "+");
        assert.deepEqual([...(await access.authorizer.allowed(caller, name))].toSorted(), granted.toSorted(), `${project} allowed`);
        // A token for another repository, or for none, is answered with a challenge for a better one, whatever the account's rights.
        const elsewhere = bounded(caller, [["open/elsewhere", ACTIONS]]);
        assert.deepEqual(
          await Promise.all(ACTIONS.map((action) => answerOf(elsewhere, action, name))),
          REFUSED,
          `${project} by another's token`,
        );
        assert.equal((await access.authorizer.allowed(elsewhere, name)).size, 0);
        // A token that was refused everything: a better one only helps if the account has the right.
        const none = bounded(caller, [[NAMES[project], []]]);
        const afterRefusal = expected.map((answer) => (answer === "+" ? "UNAUTHORIZED" : answer));
        assert.deepEqual(
          await Promise.all(ACTIONS.map((action) => answerOf(none, action, name))),
          afterRefusal,
          `${project} by an empty token`,
        );
      }
    });
  }

  it("answers private, unknown and unseen alike, to the byte", async () => {
    for (const key of ["anonymous", "stranger", "developer", "robot with patterns beyond its project"]) {
      for (const action of ACTIONS) {
        const seen = new Set<string>();
        for (const name of ["other/app", "unknown/app"]) {
          const error = await refusal(callers.get(key)!, action, name);
          const header = challenge({ realm: "https://r/token", service: "r" }, error);
          const answer = JSON.stringify([error.status, error.code, error.message, error.detail, error.headers, header]);
          seen.add(answer.replaceAll(name, "NAME").replaceAll(`the project ${name.split("/")[0]!}`, "the project PROJECT"));
        }
        assert.equal(seen.size, 1, `${key} ${action}`);
      }
    }
  });

  it("reports an administrator how to create a project, and clients which token would do", async () => {
    const unknown = await refusal(callers.get("admin")!, "push", "unknown/app");
    assert.match(String(unknown), /project unknown does not exist; create it first/);
    const error = await refusal(bounded(callers.get("developer")!, [["own/app", ["pull"]]]), "push", "own/app");
    assert.ok(error instanceof UnauthorizedError);
    assert.equal(
      challenge({ realm: 'https://r/"token', service: "r" }, error),
      'Bearer realm="https://r/\\"token",service="r",scope="repository:own/app:pull,push",error="insufficient_scope",error_description="insufficient scope"',
    );
    assert.equal(challenge({ realm: "https://r/token", service: "r" }), 'Bearer realm="https://r/token",service="r"');
  });

  it("reads patterns segment by segment", async () => {
    const caller = callers.get("robot of the project")!;
    assert.equal(await answerOf(caller, "push", parseRepositoryName("own/app/deep")), "DENIED");
    assert.equal(await answerOf(caller, "delete", parseRepositoryName("own/app/deep")), "+");
    assert.equal(await answerOf(caller, "delete", parseRepositoryName("own/app")), "DENIED");
    assert.equal(await answerOf(caller, "push", parseRepositoryName("own/app-2")), "+");
  });

  it("lists readable projects by pages, each once, in the order of their repositories", async () => {
    const expected: Record<string, string[]> = {
      anonymous: ["open"],
      stranger: ["open"],
      guest: ["open", "own"],
      admin: ["open", "other", "own"],
      auditor: ["open", "other", "own"],
      creator: ["open"],
      "robot of the project": ["open", "own"],
      "robot of the registry": ["open", "other", "own"],
    };
    for (const [key, names] of Object.entries(expected)) {
      for (const limit of [1, 2, 10]) {
        const seen: string[] = [];
        let after = "";
        for (;;) {
          const page = await access.authorizer.listReadableProjects(callers.get(key)!, after, limit);
          assert.ok(page.length <= limit);
          if (page.length === 0) break;
          seen.push(...page.map((project) => project.name));
          after = page.at(-1)!.sortKey;
        }
        assert.deepEqual(seen, names, `${key} by ${limit}`);
      }
    }
    const [, own] = await access.authorizer.listReadableProjects(callers.get("robot of the project")!, "", 10);
    assert.deepEqual(
      [own!.reach.mayPull(parseRepositoryName("own/app")), own!.reach.mayPull(parseRepositoryName("own/app/deep"))],
      [true, false],
    );
    const token = bounded(callers.get("admin")!, []);
    await assert.rejects(access.authorizer.listReadableProjects(token, "", 10), { code: "UNAUTHORIZED", scope: "registry:catalog:*" });
    assert.equal((await access.authorizer.listReadableProjects({ ...token, namesCatalog: true }, "", 10)).length, 3);
  });

  it("lets auditors read all of a project and of the registry, and creators create projects, and neither anything else", async () => {
    const { authorizer } = access;
    const answer = (deciding: Promise<unknown>): Promise<string> =>
      deciding.then(
        () => "+",
        (error: RegistryError) => error.code,
      );
    for (const permission of PROJECT_PERMISSIONS)
      assert.equal(
        await answer(authorizer.authorizeProject(callers.get("auditor")!, permission, "other")),
        permission.endsWith(".read") ? "+" : "DENIED",
        permission,
      );
    for (const may of ["audit.read", "users.read", "jobs.read", "settings.read", "robots.read"] as const) {
      const given = await Promise.all(
        ["admin", "auditor", "creator", "owner"].map((key) => answer(authorizer.authorizeSystem(callers.get(key)!, may))),
      );
      assert.deepEqual(given, ["+", "+", "DENIED", "DENIED"], may);
    }
    const creation = await Promise.all(
      ["admin", "creator", "auditor", "owner"].map((key) => answer(authorizer.authorizeSystem(callers.get(key)!, "projects.create"))),
    );
    assert.deepEqual(creation, ["+", "+", "DENIED", "DENIED"]);
    for (const key of ["auditor", "creator"])
      assert.equal(await answer(authorizer.authorizeAdministrator(callers.get(key)!)), "DENIED", key);
    await assert.rejects(authorizer.authorizeSystem(bounded(callers.get("auditor")!, []), "audit.read"), { code: "UNAUTHORIZED" });
  });

  it("lets who is narrowed to a part of a project do in the whole of it what a guest does, whatever its groups", async () => {
    const projectId = await addProject(test.database, "parted");
    const narrowed = await addUser(test.database, "narrowed");
    const scopes = [{ repositoryPattern: "parted/app", actions: new Set<Action>(["pull", "push"]) }];
    const home = { id: projectId, name: "parted" };
    await test.database.transaction((tx) => putNarrowedMember(tx, home, narrowed, { role: "maintainer", scopes }));
    const may = async (): Promise<string[]> => {
      const given: string[] = [];
      for (const permission of PROJECT_PERMISSIONS) {
        const asked = access.authorizer.authorizeProject(await callerOf(test.database, narrowed), permission, "parted");
        if (
          await asked.then(
            () => true,
            () => false,
          )
        )
          given.push(permission);
      }
      return given;
    };
    assert.deepEqual(await may(), ["project.read", "members.read", "policies.read"]);
    await test.database.transaction(async (tx) => {
      const groupId = (await insertGroup(tx, { name: "whole", description: "", source: { kind: "local" }, systemRole: undefined }, 0))!;
      await addGroupMember(tx, groupId, narrowed, LOCAL);
      await putProjectGroup(tx, home, groupId, { role: "maintainer" });
    });
    clock.advance(1000);
    assert.ok((await may()).includes("audit.read"));
  });

  it("answers the control plane by role", async () => {
    const permissions: readonly ProjectPermission[] = ["project.read", "members.write", "policies.write"];
    const expected: Record<string, string[]> = {
      anonymous: ["UNAUTHORIZED", "UNAUTHORIZED", "UNAUTHORIZED"],
      stranger: ["PROJECT_UNKNOWN", "PROJECT_UNKNOWN", "PROJECT_UNKNOWN"],
      guest: ["+", "DENIED", "DENIED"],
      developer: ["+", "DENIED", "DENIED"],
      maintainer: ["+", "DENIED", "+"],
      owner: ["+", "+", "+"],
      admin: ["+", "+", "+"],
      auditor: ["+", "DENIED", "DENIED"],
      creator: ["PROJECT_UNKNOWN", "PROJECT_UNKNOWN", "PROJECT_UNKNOWN"],
      "robot of the project": ["+", "DENIED", "DENIED"],
      "robot of the registry": ["+", "DENIED", "DENIED"],
    };
    for (const [key, answers] of Object.entries(expected)) {
      const seen = await Promise.all(
        permissions.map((permission) =>
          access.authorizer.authorizeProject(callers.get(key)!, permission, "own").then(
            () => "+",
            (error: RegistryError) => error.code,
          ),
        ),
      );
      assert.deepEqual(seen, answers, key);
    }
    await assert.rejects(access.authorizer.authorizeProject(bounded(callers.get("owner")!, []), "project.read", "own"), {
      code: "UNAUTHORIZED",
    });
    await assert.rejects(access.authorizer.authorizeAdministrator(callers.get("owner")!), { code: "DENIED" });
    await assert.rejects(access.authorizer.authorizeAccount(callers.get("anonymous")!), { code: "UNAUTHORIZED" });
  });
});
