// Signing in by a directory's password, over HTTP, on a real slapd and both databases: who gets which account, what is asked how often, and what goes on
// while the directory is away. Not here: the directory itself (ldap-directory.test.ts), local passwords (access-tokens.test.ts).
import assert from "node:assert/strict";
import { after, before, describe, it, type TestContext } from "node:test";
import { skipOrThrow } from "../tools/install.ts";
import { groupLdif, personLdif, READER, type Slapd, startSlapd, SUFFIX } from "../tools/slapd.ts";
import { ENGINES, type Settings, until } from "./engines.testing.ts";
import { startTestRegistry, type TestRegistry } from "./registry.testing.ts";

const person = (uid: string): string => `uid=${uid},ou=people,${SUFFIX}`;
const group = (cn: string): string => `cn=${cn},ou=groups,${SUFFIX}`;

const PEOPLE = ["alice", "bob", "carol", "dave", "erin", "frank", "grace", "heidi", "ivan", "judy", "mallory"];
const ENTRIES = [
  ...PEOPLE.map((uid) => personLdif(uid, `${uid}-password`)),
  groupLdif("team", [person("alice"), person("dave"), person("grace")]),
  groupLdif("dept", [group("team")]),
  groupLdif("admins", [person("bob")]),
].join("");

let slapd: Slapd | undefined;
let unavailable: unknown;
before(async () => {
  try {
    slapd = await startSlapd(ENTRIES);
  } catch (error) {
    unavailable = error;
  }
});
after(() => slapd?.stop());

/** The settings of the directory, as flags. */
function directorySettings(more: Settings = {}): Settings {
  const settings = {
    urls: slapd!.url,
    caFile: slapd!.caFile,
    bindDn: READER.dn,
    bindPassword: READER.password,
    "users.base": `ou=people,${SUFFIX}`,
    "groups.base": `ou=groups,${SUFFIX}`,
    connectTimeoutSeconds: "1s",
    answerTimeoutSeconds: "2s",
    ...more,
  };
  return Object.fromEntries(Object.entries(settings).map(([name, value]) => [`auth.ldap.corp.${name}`, value]));
}

const basic = (name: string, password: string): string => `Basic ${Buffer.from(`${name}:${password}`).toString("base64")}`;

interface Answer {
  readonly status: number;
  readonly body: Record<string, unknown>;
  readonly headers: Headers;
}

for (const engine of ENGINES) {
  describe(`signing in by a directory, ${engine.name}`, { skip: engine.skip }, () => {
    /** A registry for one test, with calls as somebody. */
    async function start(t: TestContext, more: Settings = {}, options: { jobs?: boolean; onLog?: (line: string) => void } = {}) {
      const { settings } = await engine.make(t);
      const registry = await startTestRegistry({ ...settings, ...directorySettings(more) }, options);
      t.after(() => registry.stop());
      return registry;
    }
    async function call(
      registry: TestRegistry,
      [method, path]: readonly [string, string],
      authorization?: string,
      body?: unknown,
    ): Promise<Answer> {
      const headers = {
        ...(authorization === undefined ? {} : { authorization }),
        ...(body === undefined ? {} : { "content-type": "application/json" }),
      };
      const answer = await registry.send(method, path, { headers, ...(body === undefined ? {} : { body: JSON.stringify(body) }) });
      const text = await answer.text();
      return { status: answer.status, body: text === "" ? {} : (JSON.parse(text) as Record<string, unknown>), headers: answer.headers };
    }
    const me = (registry: TestRegistry, name: string, password = `${name}-password`): Promise<Answer> =>
      call(registry, ["GET", "/api/v1/users/me"], basic(name, password));
    const codeOf = ({ body }: Answer): unknown => (body["errors"] as { code: string }[] | undefined)?.[0]?.code;
    const test = (name: string, work: (t: TestContext) => Promise<void>): void => {
      it(name, async (t) => {
        if (unavailable !== undefined) skipOrThrow(t, unavailable);
        else await work(t);
      });
    };

    test("takes the directory's password wherever one is taken, and none else", async (t) => {
      const registry = await start(t);
      const alice = await me(registry, "alice");
      assert.equal(alice.status, 200, JSON.stringify(alice.body));
      assert.equal(alice.body["name"], "alice");
      for (const password of ["", "wrong", "bob-password", "alice-password ", "x".repeat(300)]) {
        const answer = await me(registry, "alice", password);
        assert.equal(answer.status, 401, password);
        assert.equal(codeOf(answer), "UNAUTHORIZED");
      }
      for (const name of ["nobody", "*", "al*", "alice)(uid=*", "", "alice\0", "ａlice", "ali\u00adce", "x".repeat(400)]) {
        assert.equal((await me(registry, name, "alice-password")).status, 401, name);
      }
      // As directories do, whatever the letters' case.
      assert.equal((await me(registry, "ALICE", "alice-password")).body["name"], "alice");
      const token = await call(registry, ["GET", "/token?service=berth"], basic("carol", "carol-password"));
      assert.equal(token.status, 200);
      const claims = JSON.parse(Buffer.from((token.body["token"] as string).split(".")[1]!, "base64url").toString()) as { sub: string };
      assert.equal(claims.sub, "carol");
      const form = new URLSearchParams({
        grant_type: "password",
        username: "dave",
        password: "dave-password",
        service: "berth",
        client_id: "test",
      });
      const posted = await registry.send("POST", "/token", {
        anonymous: true,
        body: form.toString(),
        headers: { "content-type": "application/x-www-form-urlencoded" },
      });
      assert.equal(posted.status, 200);
      const v2 = await registry.send("GET", "/v2/", { headers: { authorization: basic("erin", "erin-password") } });
      assert.equal(v2.status, 200);
    });

    test("leaves accounts with a password here alone: they count first, and nobody in the directory becomes one", async (t) => {
      const registry = await start(t);
      const made = await call(registry, ["POST", "/api/v1/users"], undefined, {
        name: "mallory",
        password: "local-password",
        systemRole: "auditor",
      });
      assert.equal(made.status, 201, JSON.stringify(made.body));
      assert.deepEqual((await me(registry, "mallory", "local-password")).body["systemRoles"], ["auditor"]);
      for (const name of ["mallory", "Mallory", "MALLORY"]) assert.equal((await me(registry, name, "mallory-password")).status, 401, name);
      assert.equal((await me(registry, "admin", "mallory-password")).status, 401);
      // The account's local password ends; the entry is still nobody's account here.
      const removed = await call(registry, ["PATCH", "/api/v1/users/mallory"], undefined, { isDisabled: true });
      assert.equal(removed.status, 200);
      assert.equal((await me(registry, "mallory", "mallory-password")).status, 401);
    });

    test("asks once for many at a time, and not again for a while; a wrong password is not tried again", async (t) => {
      const registry = await start(t);
      const bindsOf = async (work: () => Promise<void>): Promise<number> => {
        const bound = await slapd!.count("bind");
        await work();
        // The counting itself binds.
        return (await slapd!.count("bind")) - bound - 1;
      };
      await bindsOf(async () => void (await me(registry, "frank", "wrong-1")));
      const right = await bindsOf(async () => {
        const answers = await Promise.all(Array.from({ length: 60 }, () => me(registry, "erin")));
        assert.ok(answers.every(({ status }) => status === 200));
        for (let i = 0; i < 20; i++) assert.equal((await me(registry, "erin")).status, 200);
      });
      // One for the password, and perhaps one for the account that searches.
      assert.ok(right >= 1 && right <= 2, `${right} binds`);
      const wrong = await bindsOf(async () => {
        const answers = await Promise.all(Array.from({ length: 60 }, () => me(registry, "erin", "wrong-2")));
        assert.ok(answers.every(({ status }) => status === 401));
        for (let i = 0; i < 20; i++) assert.equal((await me(registry, "erin", "wrong-2")).status, 401);
      });
      assert.ok(wrong >= 1 && wrong <= 2, `${wrong} binds`);
      assert.equal((await me(registry, "erin")).status, 200);
    });

    test("locks who guesses, in all spellings of a name, and keeps the directory out of it", async (t) => {
      const registry = await start(t, { passwordMemorySeconds: "0s" });
      const answers: number[] = [];
      for (let i = 0; i < 8; i++) answers.push((await me(registry, i % 2 === 0 ? "heidi" : "HEIDI", `guess-${i}`)).status);
      assert.deepEqual(answers, [401, 401, 401, 401, 401, 429, 429, 429]);
      assert.equal((await me(registry, "heidi")).status, 429);
      // Somebody else behind the same address goes on.
      assert.equal((await me(registry, "ivan")).status, 200);
    });

    test("takes groups over at each sign-in, with roles that settings give, and keeps out who lacks the group", async (t) => {
      const registry = await start(t, {
        passwordMemorySeconds: "0s",
        "signIn.makesGroups": "true",
        "roles.administrator": group("admins"),
      });
      assert.equal((await me(registry, "bob")).body["isAdmin"], true);
      assert.equal((await me(registry, "alice")).body["isAdmin"], false);
      const groups = await call(registry, ["GET", "/api/v1/groups"], basic("bob", "bob-password"));
      const keys = (groups.body["items"] as { source: { key?: string } }[]).map(({ source }) => source.key);
      // Only who signed in made groups.
      for (const cn of ["admins", "team", "dept"]) assert.ok(keys.includes(group(cn)), `${cn}: ${keys.join("; ")}`);
      // One that an administrator makes is the directory's, however it is spelt.
      const source = { kind: "ldap", provider: "corp", key: ` CN=Team,  OU=Groups,${SUFFIX.toUpperCase()}` };
      assert.equal(codeOf(await call(registry, ["POST", "/api/v1/groups"], undefined, { name: "again", source })), "GROUP_EXISTS");

      const closed = await start(t, { "signIn.groups": ` CN=Dept, OU=groups,${SUFFIX} `, passwordMemorySeconds: "0s" });
      assert.equal((await me(closed, "grace")).status, 200);
      const refused = await me(closed, "judy");
      assert.equal(refused.status, 401);
      assert.match(JSON.stringify(refused.body), /takes a group/);
    });

    test("says that the directory is away, and goes on for all others", async (t) => {
      const lines: string[] = [];
      const registry = await start(t, {}, { onLog: (line) => void lines.push(line) });
      assert.equal((await me(registry, "alice")).status, 200);
      await slapd!.kill();
      try {
        const away = await me(registry, "carol");
        assert.equal(away.status, 503);
        assert.equal(codeOf(away), "DIRECTORY_UNAVAILABLE");
        assert.ok(Number(away.headers.get("retry-after")) > 0);
        assert.match(JSON.stringify(away.body), /not wrong/);
        const token = await call(registry, ["GET", "/token?service=berth"], basic("carol", "carol-password"));
        assert.equal(token.status, 503);
        // Whose password was right a moment ago, and who has one here.
        assert.equal((await me(registry, "alice")).status, 200);
        assert.equal((await call(registry, ["GET", "/api/v1/users/me"])).body["name"], "admin");
        assert.equal((await me(registry, "alice", "wrong-password")).status, 503);
      } finally {
        await slapd!.resume();
      }
      await until("the directory is asked again", async () => (await me(registry, "carol")).status === 200);
      const text = lines.join("\n");
      assert.match(text, /a directory cannot be asked/);
      assert.match(text, /the directory answers again/);
      for (const secret of ["alice-password", "carol-password", "wrong-password", READER.password])
        assert.ok(!text.includes(secret), secret);
    });

    test("takes groups, tokens and sessions from who is gone or disabled there, and from nobody while the directory is away", async (t) => {
      const who = (uid: string): string => `${uid}-${engine.name}`;
      await slapd!.change(
        ["gone", "stays", "off"]
          .map((uid) => personLdif(who(uid), "its-password"))
          .join("")
          .replaceAll(/^dn: .*$/gm, "$&\nchangetype: add") +
          groupLdif(who("leavers"), [person(who("gone")), person(who("stays")), person(who("off"))]).replace(
            /^dn: .*$/m,
            "$&\nchangetype: add",
          ),
      );
      const { settings, sql } = await engine.make(t);
      const more = { "signIn.makesGroups": "true", passwordMemorySeconds: "1h" };
      const registry = await startTestRegistry({ ...settings, ...directorySettings(more) }, { jobs: true });
      t.after(() => registry.stop());
      const tokens = new Map<string, string>();
      for (const uid of ["gone", "stays", "off"]) {
        const made = await call(registry, ["POST", "/api/v1/users/me/tokens"], basic(who(uid), "its-password"), {
          name: "ci",
          scopes: [{ repositories: "**", actions: ["pull"] }],
          api: "read",
        });
        assert.equal(made.status, 201, JSON.stringify(made.body));
        tokens.set(uid, made.body["secret"] as string);
      }
      const works = async (uid: string): Promise<number> =>
        (await call(registry, ["GET", "/api/v1/users/me"], `Bearer ${tokens.get(uid)}`)).status;
      for (const uid of tokens.keys()) assert.equal(await works(uid), 200, uid);
      // The next run, now.
      const refresh = async (): Promise<void> => {
        await until(
          "no run is under way",
          async () => (await sql("select state from job where kind = 'directory-refresh' and state <> 'running'")).length === 1,
        );
        await sql("update job set due_at = 1 where kind = 'directory-refresh'");
      };
      await slapd!.change(`dn: ${person(who("gone"))}\nchangetype: delete\n\n`);
      await slapd!.change(
        `dn: ${person(who("off"))}\nchangetype: modify\nadd: pwdAccountLockedTime\npwdAccountLockedTime: 000001010000Z\n\n`,
      );
      await refresh();
      await until("tokens of who is gone end", async () => (await works("gone")) === 401 && (await works("off")) === 401);
      assert.equal(await works("stays"), 200);
      // A password that was right an hour ago at most is not remembered either.
      assert.equal((await me(registry, who("gone"), "its-password")).status, 401);
      const members = await call(registry, ["GET", `/api/v1/groups/${who("leavers")}/members`]);
      const group_ = await call(registry, ["GET", "/api/v1/groups"]);
      const name = (group_.body["items"] as { name: string; source: { key?: string } }[]).find(
        ({ source }) => source.key === group(who("leavers")),
      )!.name;
      const left = members.status === 200 ? members : await call(registry, ["GET", `/api/v1/groups/${name}/members`]);
      assert.deepEqual(
        (left.body["items"] as { user: string }[]).map(({ user }) => user),
        [who("stays")],
      );
      const failures = async (): Promise<number> =>
        Number(/^berth_directory_failures_total\{.*\} (\d+)$/m.exec(await (await registry.send("GET", "/metrics")).text())?.[1]);
      const before = await failures();
      await slapd!.kill();
      try {
        await refresh();
        await until("the directory is asked in vain", async () => (await failures()) > before);
        assert.equal(await works("stays"), 200);
      } finally {
        await slapd!.resume();
      }
      assert.equal(await works("stays"), 200);
    });

    test("says what would become of somebody, and signs nobody in", async (t) => {
      const roles = { "roles.auditor": group("dept"), "signIn.groups": group("dept") };
      const registry = await start(t, roles);
      const tested = (user: string, password?: string): Promise<Answer> =>
        call(registry, ["POST", "/api/v1/directories/corp/tests"], undefined, { user, ...(password === undefined ? {} : { password }) });
      const source = { kind: "ldap", provider: "corp", key: group("team") };
      assert.equal((await call(registry, ["POST", "/api/v1/groups"], undefined, { name: "ours", source })).status, 201);
      const alice = await tested("alice", "alice-password");
      assert.equal(alice.status, 200, JSON.stringify(alice.body));
      const { outcome, account, found } = alice.body as { outcome: string; account: unknown; found: Record<string, unknown> };
      assert.equal(outcome, "signs-in");
      assert.equal(account, null);
      assert.equal(found["dn"], person("alice"));
      assert.equal(found["systemRole"], "auditor");
      assert.deepEqual(found["groups"], [
        { key: group("dept"), group: null },
        { key: group("team"), group: "ours" },
      ]);
      assert.equal((await call(registry, ["GET", "/api/v1/users/alice"])).status, 404, "nobody was signed in");
      const outcomes: [string, string | undefined, string][] = [
        ["alice", "wrong", "password-wrong"],
        ["alice", undefined, "password-not-tried"],
        ["judy", "judy-password", "refused"],
        ["nobody", "x", "unknown"],
        ["*", "x", "unknown"],
      ];
      for (const [user, password, wanted] of outcomes) assert.equal((await tested(user, password)).body["outcome"], wanted, user);
      assert.equal((await me(registry, "alice")).status, 200);
      assert.equal((await tested("alice")).body["account"], "alice");
      assert.equal((await call(registry, ["POST", "/api/v1/directories/other/tests"], undefined, { user: "x" })).status, 404);
      const list = await call(registry, ["GET", "/api/v1/directories"]);
      assert.deepEqual(list.body["items"], [{ name: "corp", urls: [slapd!.url], isAway: false }]);
      await slapd!.kill();
      try {
        const away = await tested("alice");
        assert.equal(away.body["outcome"], "unavailable");
        assert.match(String(away.body["reason"]), /cannot connect/);
        assert.equal(((await call(registry, ["GET", "/api/v1/directories"])).body["items"] as { isAway: boolean }[])[0]!.isAway, true);
      } finally {
        await slapd!.resume();
      }
    });
  });
}
