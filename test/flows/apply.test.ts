// `berth apply`, `diff` and `export` against a real registry: a team's files become a project, drift is found, and what was exported changes
// nothing. Not here: files and plans by themselves (apps/cli/src/apply/apply.test.ts).
import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { type CliUser, cliUser } from "./cli.testing.ts";
import { ADMIN_PASSWORD, startTestRegistry, temporaryFolder, type TestRegistry } from "./registry.testing.ts";

interface Applied {
  readonly steps: readonly { readonly action: string; readonly kind: string; readonly name: string }[];
  readonly secrets: readonly { readonly login: string; readonly secret: string }[];
}

const TEAM = `apiVersion: berth/v1
kind: Project
name: team
visibility: private
members:
  - user: ada
    role: owner
  - user: bob
    role: developer
robots:
  - name: ci
    scopes:
      - repositories: team/**
        actions: [pull, push]
---
apiVersion: berth/v1
kind: Robot
name: mirror
scopes:
  - repositories: "**"
    actions: [pull]
expiresAt: 2099-01-01T00:00:00Z
---
apiVersion: berth/v1
kind: Settings
values:
  - path: log.level
    value: warn
`;

describe("berth apply", () => {
  let registry: TestRegistry;
  let folder: Awaited<ReturnType<typeof temporaryFolder>>;
  let admin: CliUser;
  let file: string;

  before(async () => {
    folder = await temporaryFolder();
    registry = await startTestRegistry();
    admin = cliUser(join(folder.path, "admin"));
    await login(admin, "admin", ADMIN_PASSWORD);
    for (const name of ["ada", "bob"]) await admin.run(["user", "create", name, "--password-stdin"], { input: `${name}'s password\n` });
    file = join(folder.path, "team.yaml");
    await writeFile(file, TEAM);
  });
  after(async () => {
    await registry.stop();
    await folder.end();
  });

  const login = (user: CliUser, name: string, password: string) =>
    user.run(["login", registry.origin, "--user", name, "--password-stdin"], { input: `${password}\n` });
  const stepsOf = ({ steps }: Applied): string[] => steps.map(({ action, kind, name }) => `${action} ${kind} ${name}`);

  it("shows what it would do, and does nothing, with --dry-run", async () => {
    const { code, stdout, stderr } = await admin.run(["apply", "-f", file, "--dry-run"]);
    assert.equal(code, 0, stderr);
    assert.match(stdout, /^create +project +team +visibility private$/m);
    assert.match(stderr, /Nothing was changed\. 5 to create, 1 to update\. 1 in the registry and not in the files/);
    assert.deepEqual(
      (await admin.json<{ name: string }[]>("project", "list")).map(({ name }) => name),
      ["library"],
    );
  });

  it("makes the registry what the files say, shows each secret once, and has nothing to do the second time", async () => {
    const done = await admin.json<Applied>("apply", "-f", file);
    assert.deepEqual(stepsOf(done), [
      "update setting log.level",
      "create project team",
      "create member team/ada",
      "create member team/bob",
      "create robot team+ci",
      "create robot +mirror",
      "extra member team/admin",
    ]);
    assert.deepEqual(
      done.secrets.map((robot) => robot.login),
      ["team+ci", "+mirror"],
    );
    const robot = cliUser(join(folder.path, "robot"));
    assert.equal((await login(robot, "team+ci", done.secrets[0]!.secret)).code, 0);
    const again = await admin.run(["apply", "-f", "-"], { input: TEAM });
    assert.equal(again.code, 0);
    assert.match(again.stderr, /1 in the registry and not in the files/);
    const member = (await admin.json<{ user: string; role: string }[]>("member", "list", "team")).find(({ user }) => user === "ada");
    assert.equal(member?.role, "owner");
  });

  it("finds drift, and ends it; asks before it deletes", async () => {
    await admin.ok("member", "set", "team", "bob", "--role", "maintainer");
    const drift = await admin.run(["diff", "-f", file]);
    assert.equal(drift.code, 1);
    assert.match(drift.stdout, /^update +member +team\/bob +role maintainer -> developer$/m);
    const unasked = await admin.run(["apply", "-f", file, "--prune"]);
    assert.equal(unasked.code, 1);
    assert.match(unasked.stderr, /nothing was changed: this asks before it deletes/);
    assert.equal((await admin.json<unknown[]>("member", "list", "team")).length, 3);
    await admin.ok("apply", "-f", file, "--prune", "--yes");
    const same = await admin.run(["diff", "-f", file, "--prune"]);
    assert.deepEqual([same.code, same.stdout], [0, ""]);
    assert.match(same.stderr, /The registry is as the files say/);
  });

  it("exports what there is: applied again it changes nothing", async () => {
    const text = await admin.ok("export");
    assert.match(text, /kind: Settings/);
    const same = await admin.run(["diff", "-f", "-", "--prune"], { input: text });
    assert.equal(same.code, 0, same.stdout + same.stderr);
    const one = await admin.ok("export", "team");
    assert.doesNotMatch(one, /Settings|mirror/);
    // A developer sees no robots, and the file says nothing of them.
    const bob = cliUser(join(folder.path, "bob"));
    await login(bob, "bob", "bob's password");
    const { stdout, stderr } = await bob.run(["export"]);
    assert.doesNotMatch(stdout, /robots:|mirror/);
    assert.match(stderr, /may not see the robots and webhooks of team/);
  });

  it("narrows a member to some repositories, and exports and keeps what a member is narrowed to", async () => {
    const applied = async (roleOfBob: string): Promise<string> => {
      const done = await admin.run(["apply", "-f", "-"], { input: TEAM.split("---")[0]!.replace("role: developer", roleOfBob) });
      assert.equal(done.code, 0, done.stderr);
      return done.stdout;
    };
    const scopesOfBob = async (): Promise<unknown> =>
      (await admin.json<{ user: string; scopes?: unknown }[]>("member", "list", "team")).find(({ user }) => user === "bob")?.scopes;
    const scopes = [{ repositories: "team/web", actions: ["pull", "push"] }];
    const narrowed = await applied("role: developer\n    scopes: [{repositories: team/web, actions: [pull, push]}]");
    assert.match(narrowed, /^update +member +team\/bob +scopes team\/web:pull,push$/m);
    assert.deepEqual(await scopesOfBob(), scopes);
    assert.match(await admin.ok("export", "team"), /repositories: team\/web/);
    await applied("role: maintainer");
    assert.deepEqual(await scopesOfBob(), scopes);
    await applied("role: developer\n    scopes: null");
    assert.equal((await scopesOfBob()) ?? null, null);
  });

  it("makes groups, issuers, trust rules and webhooks, exports them, and ends drift in them", async () => {
    const { publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
    const keys = JSON.stringify({ keys: [{ ...publicKey.export({ format: "jwk" }), kid: "k1" }] });
    const text = `apiVersion: berth/v1
kind: Project
name: shop
description: The shop
contact: "#shop"
labels: [{key: cost, value: "7"}]
members: [{user: admin, role: owner}]
groups: [{group: shop-people, role: developer, scopes: [{repositories: shop/web, actions: [pull, push], tags: ["dev-*"]}]}]
robots:
  - name: ci
    scopes: [{repositories: shop/**, actions: [pull, push]}]
    withoutSecret: true
    trust: [{name: main, issuer: ci-service, conditions: [{claim: sub, equals: shop}, {claim: ref, equals: main}]}]
webhooks: [{name: chat, address: "https://chat.example/hook", form: slack, kinds: ["tag.*"]}]
---
{apiVersion: berth/v1, kind: Group, name: shop-people, description: People of the shop, members: [bob]}
---
{apiVersion: berth/v1, kind: Issuer, name: ci-service, url: "https://ci.example", audiences: [berth], keys: ${JSON.stringify(keys)}}
---
{apiVersion: berth/v1, kind: Webhook, name: everything, address: "https://log.example/", kinds: ["*"]}
`;
    const shop = join(folder.path, "shop.yaml");
    await writeFile(shop, text);
    const done = await admin.json<Applied>("apply", "-f", shop);
    assert.deepEqual(stepsOf(done), [
      "create issuer ci-service",
      "create group shop-people",
      "create member shop-people/bob",
      "create project shop",
      "create group shop/shop-people",
      "create robot shop+ci",
      "create trust shop+ci/main",
      "create webhook shop/chat",
      "create webhook everything",
    ]);
    assert.equal(done.secrets.length, 2, "the secrets of two webhooks, and none of a robot without one");
    const same = await admin.run(["diff", "-f", shop, "--prune"]);
    assert.equal(same.code, 0, same.stdout + same.stderr);
    const whole = await admin.run(["export"]);
    assert.match(whole.stderr, /the keys of issuer ci-service were given/);
    const again = await admin.run(["diff", "-f", "-", "--prune"], { input: whole.stdout });
    assert.equal(again.code, 0, again.stdout + again.stderr);
    await admin.ok("group", "add", "shop-people", "ada");
    await admin.ok("project", "update", "shop", "--description", "Something else");
    await writeFile(shop, text.replace(/^webhooks: .*$/m, "webhooks: []"));
    const drift = await admin.json<Applied>("apply", "-f", shop, "--prune", "--yes");
    assert.deepEqual(stepsOf(drift), ["update project shop", "delete member shop-people/ada", "delete webhook shop/chat"]);
    assert.equal((await admin.run(["diff", "-f", shop, "--prune"])).code, 0);
  });

  it("stops at what fails, says what was done before it, and goes on from there the next time", async () => {
    const text = `${TEAM.split("---")[0]}---\napiVersion: berth/v1\nkind: Project\nname: next\nmembers: [{user: nobody, role: guest}]\n`;
    const failed = await admin.run(["apply", "-f", "-"], { input: text });
    assert.equal(failed.code, 1);
    assert.match(failed.stdout, /^create +project +next/m);
    assert.match(failed.stderr, /create member next\/nobody failed; 1 of 2 changes were made before it/);
    assert.match(failed.stderr, /USER_UNKNOWN/);
    const rest = await admin.run(["apply", "-f", "-"], { input: text.replace("nobody", "bob") });
    assert.equal(rest.code, 0, rest.stderr);
    assert.doesNotMatch(rest.stdout, /project/);
  });

  it("changes nothing for who may not, and with files that are not right", async () => {
    const bob = cliUser(join(folder.path, "bob"));
    await login(bob, "bob", "bob's password");
    const denied = await bob.run(["apply", "-f", "-"], { input: TEAM.split("---")[0]!.replace("private", "public") });
    assert.equal(denied.code, 1);
    assert.match(denied.stderr, /DENIED/);
    const wrong = await admin.run(["apply", "-f", "-"], { input: TEAM.replace("role: owner", "role: king") });
    assert.equal(wrong.code, 1);
    assert.match(wrong.stderr, /input:7: members\.0\.role must be one of/);
    assert.equal((await admin.run(["apply"])).code, 64);
  });
});
