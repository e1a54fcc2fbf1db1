// Projects that come by the first push: who may, by which credentials, once however many push at once, and no more than one may own. Not here: the
// creation of projects through the API (access-matrix.test.ts, projects-api.test.ts).
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { ENGINES } from "./engines.testing.ts";
import { startTestRegistry, type TestRegistry } from "./registry.testing.ts";

const PASSWORD = "first-push-password";
const basic = (name: string, secret = PASSWORD): string => `Basic ${Buffer.from(`${name}:${secret}`).toString("base64")}`;

async function ask(registry: TestRegistry, asked: string, as?: string, body?: unknown) {
  const [method = "", path = ""] = asked.split(" ");
  const answer = await registry.send(method, path, {
    headers: { ...(as === undefined ? {} : { authorization: as }), ...(body === undefined ? {} : { "content-type": "application/json" }) },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  const text = await answer.text();
  return { status: answer.status, text, body: (text.startsWith("{") ? JSON.parse(text) : {}) as Record<string, unknown> };
}

async function start(settings: Readonly<Record<string, string>>): Promise<TestRegistry> {
  const registry = await startTestRegistry(settings);
  for (const [name, systemRole] of [
    ["ann", undefined],
    ["cyd", "creator"],
    ["aud", "auditor"],
  ] as const)
    assert.equal(
      (await ask(registry, "POST /api/v1/users", undefined, { name, password: PASSWORD, ...(systemRole && { systemRole }) })).status,
      201,
    );
  return registry;
}

async function tokenFor(registry: TestRegistry, as: string, repository: string): Promise<string> {
  const answer = await ask(registry, `GET /token?service=berth&scope=repository:${repository}:pull,push`, as);
  assert.equal(answer.status, 200, answer.text);
  return `Bearer ${String(answer.body["token"])}`;
}
const push = (registry: TestRegistry, repository: string, as: string) => ask(registry, `POST /v2/${repository}/blobs/uploads/`, as);

for (const engine of ENGINES) {
  describe(`the first push on ${engine.name}`, { skip: engine.skip }, () => {
    it("makes no project by default, and its refusal says how one is made", async (t) => {
      const registry = await start({ ...(await engine.make(t)).settings, "projects.creation": "everyone" });
      t.after(() => registry.stop());
      for (const name of ["ann", "cyd"]) {
        const refused = await push(registry, "fresh/app", basic(name));
        assert.equal(refused.status, 403);
        assert.match(refused.text, /who may create projects can make the project fresh \(berth project create\)"/);
        // What is hidden is answered alike.
        await ask(registry, "POST /api/v1/projects", undefined, { name: "owned" });
        const hidden = await push(registry, "owned/app", basic(name));
        assert.deepEqual([hidden.status, hidden.text.replaceAll("owned", "fresh")], [403, refused.text]);
      }
      assert.equal((await ask(registry, "GET /api/v1/projects/fresh")).status, 404);
    });

    it("makes it for who may create projects, by password and by token, with the owner and on record", async (t) => {
      const registry = await start({ ...(await engine.make(t)).settings, "projects.createOnPush": "true" });
      t.after(() => registry.stop());
      for (const name of ["ann", "aud"]) {
        assert.equal((await push(registry, "fresh/app", basic(name))).status, 403, name);
        assert.equal((await push(registry, "fresh/app", await tokenFor(registry, basic(name), "fresh/app"))).status, 403, name);
      }
      assert.equal((await push(registry, "fresh/app", await tokenFor(registry, basic("cyd"), "fresh/app"))).status, 202);
      assert.equal((await push(registry, "other/app", basic("cyd"))).status, 202);
      // A token names what it is for: it makes no other project.
      const elsewhere = await push(registry, "third/app", await tokenFor(registry, basic("cyd"), "fresh/app"));
      assert.equal(elsewhere.status, 401);
      for (const project of ["fresh", "other"]) {
        const shown = await ask(registry, `GET /api/v1/projects/${project}`, basic("cyd"));
        assert.deepEqual([shown.body["visibility"], shown.body["role"]], ["private", "owner"]);
        // Records are read once they are sealed.
        for (;;) {
          const { text } = await ask(registry, `GET /api/v1/projects/${project}/audit`);
          if (text.includes('"project.created"') && text.includes('"cyd"')) break;
          await sleep(50);
        }
      }
      // A project that is there and hidden stays as it is.
      assert.equal((await push(registry, "library/app", basic("cyd"))).status, 403);
      assert.equal((await ask(registry, "GET /v2/never/app/tags/list", basic("cyd"))).status, 404);
      assert.equal((await ask(registry, "GET /api/v1/projects/never")).status, 404);
      // A personal token makes by a push what it makes on the API: nothing, unless it writes everywhere.
      const made = async (scopes: unknown, api: string): Promise<string> => {
        const token = await ask(registry, "POST /api/v1/users/me/tokens", basic("cyd"), { name: "t", scopes, api });
        return basic("cyd", String(token.body["secret"]));
      };
      const everything = [{ repositories: "**", actions: ["pull", "push", "delete"] }];
      assert.equal((await push(registry, "pat/app", await made(everything, "none"))).status, 403);
      assert.equal((await push(registry, "pat/app", await made(everything, "read"))).status, 403);
      assert.equal(
        (await push(registry, "pat/app", await made([{ repositories: "pat/**", actions: ["pull", "push"] }], "write"))).status,
        403,
      );
      assert.equal((await push(registry, "pat/app", await made(everything, "write"))).status, 202);
    });

    it("makes one, however many push at once, and for each user no more than one may own", async (t) => {
      const settings = (await engine.make(t)).settings;
      const registry = await start({
        ...settings,
        "projects.createOnPush": "true",
        "projects.creation": "everyone",
        "projects.ownedPerUser": "3",
      });
      t.after(() => registry.stop());
      const same = await Promise.all(Array.from({ length: 12 }, () => push(registry, "race/app", basic("ann"))));
      assert.deepEqual(new Set(same.map(({ status }) => status)), new Set([202]));
      const rivals = await Promise.all(["ann", "cyd", "ann", "cyd"].map((name) => push(registry, "rival/app", basic(name))));
      const won = rivals.map(({ status }) => status);
      assert.equal(won.filter((status) => status === 202).length, 2, `one of the two owns it: ${won.join(" ")}`);
      assert.equal(won[0], won[2]);
      const many = await Promise.all(Array.from({ length: 8 }, (_, n) => push(registry, `own${n}/app`, basic("ann"))));
      const owned = (await ask(registry, "GET /api/v1/projects", basic("ann"))).body["items"] as { role: string | null }[];
      assert.equal(owned.filter(({ role }) => role === "owner").length, 3);
      const refused = many.filter(({ status }) => status !== 202);
      assert.ok(refused.length >= 6);
      for (const { status, text } of refused) assert.match(`${status} ${text}`, /^403 .*DENIED.*you own 3 projects/);
      const onApi = await ask(registry, "POST /api/v1/projects", basic("ann"), { name: "more" });
      assert.match(`${onApi.status} ${onApi.text}`, /^409 .*PROJECTS_EXCEEDED/);
      // Administrators have no limit.
      for (let n = 0; n < 4; n++)
        assert.equal((await ask(registry, "POST /api/v1/projects", undefined, { name: `admin${n}` })).status, 201);
    });
  });
}
