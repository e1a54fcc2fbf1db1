// The program `berth` against a real registry: a team's path from its login to a deleted repository, and every way in which it can fail.
// Not here: parsing the command line (apps/cli/src/command-line.test.ts).
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readFile, stat, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import { type AddressInfo, createServer as createTcpServer } from "node:net";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { type CliUser, cliUser } from "./cli.testing.ts";
import { ADMIN_PASSWORD, startTestRegistry, temporaryFolder, type TestRegistry } from "./registry.testing.ts";

let registry: TestRegistry;
let folder: Awaited<ReturnType<typeof temporaryFolder>>;
let admin: CliUser;

before(async () => {
  folder = await temporaryFolder();
  registry = await startTestRegistry({}, { jobs: true });
  admin = cliUser(join(folder.path, "admin"));
});
after(async () => {
  await registry.stop();
  await folder.end();
});

const login = (user: CliUser, name = "admin", password = ADMIN_PASSWORD, origin = registry.origin) =>
  user.run(["login", origin, "--user", name, "--password-stdin"], { input: `${password}\n` });

describe("berth login", () => {
  it("refuses a wrong password, says what to do with the request id, and keeps nothing", async () => {
    const user = cliUser(join(folder.path, "wrong"));
    const { code, stdout, stderr } = await login(user, "admin", "not the password");
    assert.equal(code, 1);
    assert.equal(stdout, "");
    assert.match(stderr, /UNAUTHORIZED, status 401/);
    assert.match(stderr, /berth login REGISTRY/);
    assert.match(stderr, /^request id: \S+$/m);
    await assert.rejects(readFile(user.file), { code: "ENOENT" });
  });

  it("keeps what is right for its owner alone, and forgets it", async () => {
    const user = cliUser(join(folder.path, "kept"));
    assert.equal((await login(user)).code, 0);
    const { mode } = await stat(user.file);
    assert.equal(mode & 0o777, 0o600);
    const { host } = new URL(registry.origin);
    assert.deepEqual(await user.json("context", "list"), [
      { name: host, isCurrent: true, registry: registry.origin, user: "admin", caFile: null },
    ]);
    assert.doesNotMatch(await user.ok("context", "list", "-o", "wide"), new RegExp(ADMIN_PASSWORD));
    await user.ok("logout");
    assert.doesNotMatch(await readFile(user.file, "utf8"), new RegExp(ADMIN_PASSWORD));
    const refused = await user.run(["whoami"]);
    assert.equal(refused.code, 1);
    assert.match(refused.stderr, /Log in: berth login/);
    await user.ok("context", "remove", host);
    assert.deepEqual(await user.json("context", "list"), []);
    assert.equal((await user.run(["whoami"])).code, 64);
  });

  it("has no context where environment variables name registry and account, and sends no kept password elsewhere", async () => {
    const nobody = cliUser(join(folder.path, "environment"));
    const env = { BERTH_REGISTRY: registry.origin, BERTH_USER: "admin", BERTH_PASSWORD: ADMIN_PASSWORD };
    assert.match((await nobody.run(["whoami"], { env })).stdout, /NAME +admin/);
    assert.equal((await nobody.run(["whoami"], { env: { ...env, BERTH_PASSWORD: "" } })).code, 64);

    const seen: (string | undefined)[] = [];
    const other = createServer((request, response) => {
      seen.push(request.headers.authorization);
      response.writeHead(404).end("nothing");
    }).listen(0, "127.0.0.1");
    try {
      const user = cliUser(join(folder.path, "elsewhere"));
      await login(user);
      const address = `http://127.0.0.1:${(other.address() as AddressInfo).port}`;
      const { code, stderr } = await user.run(["whoami", "--registry", address]);
      assert.equal(code, 1);
      assert.match(stderr, /answered 404, which is no answer of Berth's API/);
      assert.deepEqual(seen, [undefined]);
    } finally {
      other.close();
    }
  });
});

it("berth: a team's way: project, member, robot, push, tags, manifest, and deletion", async () => {
  assert.equal((await login(admin)).code, 0);
  await admin.ok("project", "create", "team", "--visibility", "private");
  const ada = ["user", "create", "ada", "--password-stdin"];
  assert.equal((await admin.run(ada, { input: "correct horse battery\n" })).code, 0);
  await admin.ok("member", "set", "team", "ada", "--role", "developer");
  assert.deepEqual(await admin.json("member", "list", "team"), [
    { user: "ada", role: "developer" },
    { user: "admin", role: "owner" },
  ]);
  const robot = await admin.json<{ login: string; secret: string; expiresAt: string }>(
    "robot",
    "create",
    "team+ci",
    "--scope",
    "team/**:pull,push",
    "--expires",
    "90d",
  );
  assert.equal(robot.login, "team+ci");
  assert.ok(Date.parse(robot.expiresAt) > Date.now() + 89 * 86_400_000);

  // The robot logs in, and may not do what its scope does not allow.
  const ci = cliUser(join(folder.path, "ci"));
  assert.equal((await login(ci, robot.login, robot.secret)).code, 0);
  assert.match(await ci.ok("whoami"), /KIND +robot/);
  const rotated = await admin.json<{ secret: string }>("robot", "rotate", "team+ci", "--yes");
  assert.equal((await ci.run(["whoami"])).code, 1);
  assert.equal((await login(ci, robot.login, rotated.secret)).code, 0);

  const pushed = await registry.pushImage("team/app/web", "v1");
  await registry.pushImage("team/app/web", "v2");
  const tags = await ci.json<{ name: string; digest: string; pushedBy: string }[]>("tag", "list", "team/app/web");
  assert.deepEqual(
    tags.map(({ name }) => name),
    ["v1", "v2"],
  );
  assert.deepEqual(await ci.json("tag", "list", "team/app/web", "--limit", "1"), tags.slice(0, 1));
  assert.equal(tags[0]?.digest, pushed.digest);
  const table = await ci.ok("tag", "list", "team/app/web");
  assert.match(table, /^TAG +DIGEST +SIZE +PLATFORMS +PUSHED +BY$/m);
  assert.match(await ci.ok("manifest", "show", "team/app/web:v1"), new RegExp(`^DIGEST +${pushed.digest}$`, "m"));
  assert.match(await ci.ok("manifest", "show", `team/app/web@${pushed.digest}`, "-o", "yaml"), /architecture: amd64/);
  const denied = await ci.run(["tag", "delete", "team/app/web:v1", "--yes"]);
  assert.equal(denied.code, 1);
  assert.match(denied.stderr, /DENIED, status 403/);

  await admin.ok("tag", "delete", "team/app/web:v1", "--yes");
  const history = await admin.json<{ digest: string | null }[]>("tag", "history", "team/app/web:v1");
  assert.deepEqual(
    history.map(({ digest }) => digest),
    [null, pushed.digest],
  );
  assert.deepEqual(
    (await admin.json<{ digest: string }[]>("manifest", "list", "team/app/web", "--untagged")).map(({ digest }) => digest),
    [pushed.digest],
  );
  await admin.ok("manifest", "delete", `team/app/web@${pushed.digest}`, "--yes");
  assert.equal((await admin.run(["manifest", "show", `team/app/web@${pushed.digest}`])).code, 1);
  const lines = (await admin.ok("repo", "export", "team", "-o", "json")).trim().split("\n");
  assert.equal((JSON.parse(lines[0]!) as { name: string }).name, "team/app/web");
  assert.equal(lines.length, 1);

  // Without confirmation nothing is lost.
  const unasked = await admin.run(["repo", "delete", "team/app/web"]);
  assert.equal(unasked.code, 1);
  assert.match(unasked.stderr, /nothing was changed.*--yes/);
  await admin.ok("repo", "show", "team/app/web");
  await admin.ok("repo", "delete", "team/app/web", "--yes");
  assert.equal((await admin.run(["repo", "show", "team/app/web"])).code, 1);

  await admin.ok("robot", "delete", "team+ci", "--yes");
  await admin.ok("member", "remove", "team", "ada", "--yes");
  await admin.ok("user", "delete", "ada", "--yes");
  await admin.ok("project", "delete", "team", "--yes");
  assert.equal((await admin.run(["project", "show", "team"])).code, 1);
});

it("berth user update, password: a new password is kept, and the old one is void", async () => {
  await login(admin);
  await admin.run(["user", "create", "grace", "--password-stdin"], { input: "the first password\n" });
  const grace = cliUser(join(folder.path, "grace"));
  await login(grace, "grace", "the first password");
  assert.equal((await grace.run(["password", "--password-stdin"], { input: "the second password\n" })).code, 0);
  assert.match(await grace.ok("whoami"), /grace/);
  assert.equal((await login(grace, "grace", "the first password")).code, 1);
  await admin.ok("user", "update", "grace", "--disable");
  assert.equal((await grace.run(["whoami"])).code, 1);
  assert.equal((await admin.json<{ isDisabled: boolean }>("user", "update", "grace", "--enable")).isDisabled, false);
});

it("berth project list: gives all pages", async () => {
  await login(admin);
  const names = Array.from({ length: 205 }, (_, at) => `many-${String(at).padStart(3, "0")}`);
  for (const name of names)
    await registry.send("POST", "/api/v1/projects", { body: JSON.stringify({ name }), headers: { "content-type": "application/json" } });
  const listed = (await admin.json<{ name: string }[]>("project", "list")).map(({ name }) => name);
  assert.deepEqual(
    listed.filter((name) => name.startsWith("many-")),
    names,
  );
});

it("berth settings, upload: change what changes while the registry runs, and end an upload", async () => {
  await login(admin);
  const [set] = await admin.json<{ value: string; source: string }[]>("settings", "set", "log.level", "error");
  assert.deepEqual({ value: set?.value, source: set?.source }, { value: "error", source: "api" });
  assert.equal((await admin.json<{ source: string }[]>("settings", "reset", "log.level"))[0]?.source !== "api", true);
  assert.equal((await admin.run(["settings", "set", "log.levl", "error"])).code, 1);
  await registry.send("POST", "/v2/library/half/blobs/uploads/");
  const uploads = await admin.json<{ id: string; repository: string }[]>("upload", "list");
  assert.deepEqual(
    uploads.map(({ repository }) => repository),
    ["library/half"],
  );
  await admin.ok("upload", "cancel", uploads[0]!.id, "--yes");
  assert.deepEqual(await admin.json("upload", "list"), []);
});

it("berth api: sends any request, and prints the answer as it is", async () => {
  await login(admin);
  assert.deepEqual(Object.keys(JSON.parse(await admin.ok("api", "GET", "/usage")) as object), ["blobs", "sizeBytes"]);
  const wrong = await admin.run(["api", "post", "/api/v1/projects", "--body", "-"], { input: '{"name":"Team"}' });
  assert.equal(wrong.code, 1);
  assert.match(wrong.stderr, /FIELD_INVALID, status 400\)\n {2}body\.name: /);
  assert.equal((await admin.run(["api", "GET", "usage"])).code, 64);
  assert.equal((await admin.run(["api", "POST", "/projects", "--body", "{"])).code, 64);
});

it("berth job: lists, shows and follows until it is interrupted", async () => {
  await login(admin);
  const [job] = await admin.json<{ id: string; kind: string }[]>("job", "list", "--kind", "repository-removal", "--limit", "1");
  assert.equal((await admin.json<{ kind: string }>("job", "show", job!.id)).kind, "repository-removal");
  // Repeating upkeep has no end; a job with an end is in apps/cli/src/commands/follow-job.test.ts.
  const followed = await admin.run(["job", "follow", job!.id], { interruptAt: /waiting|running|ready/ });
  assert.equal(followed.code, 130, followed.stderr);
  const unknown = await admin.run(["job", "follow", "999999"]);
  assert.equal(unknown.code, 1);
  assert.match(unknown.stderr, /JOB_UNKNOWN, status 404/);
  const waiting = await admin.run(["job", "retry", job!.id]);
  assert.equal(waiting.code, 1);
  assert.match(waiting.stderr, /JOB_NOT_FAILED/);
});

describe("berth on bad connections", () => {
  it("says where nobody answers", async () => {
    const server = createTcpServer().listen(0, "127.0.0.1");
    await new Promise((resolve) => server.once("listening", resolve));
    const { port } = server.address() as AddressInfo;
    await new Promise((resolve) => server.close(resolve));
    const { code, stderr } = await login(cliUser(join(folder.path, "nobody")), "admin", "x", `http://127.0.0.1:${port}`);
    assert.equal(code, 1);
    assert.match(stderr, /cannot be reached: .*ECONNREFUSED/);
    assert.match(stderr, /Is the address right/);
  });

  const hasOpenssl = spawnSync("openssl", ["version"]).status === 0;
  it(
    "refuses a certificate that nobody vouches for, and takes it with --ca-file",
    { skip: hasOpenssl ? false : "cannot run here: openssl is not installed" },
    async () => {
      const file = (name: string): string => join(folder.path, name);
      const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", file("tls.key")];
      const subject = ["-subj", "/CN=berth", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "1"];
      assert.equal(spawnSync("openssl", ["req", "-x509", ...key, "-out", file("tls.crt"), ...subject]).status, 0);
      const secure = await startTestRegistry({ "http.tls.certificateFile": file("tls.crt"), "http.tls.keyFile": file("tls.key") });
      try {
        const origin = secure.origin.replace("http:", "https:");
        const user = cliUser(join(folder.path, "secure"));
        const refused = await login(user, "admin", ADMIN_PASSWORD, origin);
        assert.equal(refused.code, 1);
        assert.match(refused.stderr, /is not trusted: self-signed certificate/);
        assert.match(refused.stderr, /--ca-file FILE/);
        const args = ["login", origin, "-u", "admin", "--password-stdin", "--ca-file", file("tls.crt")];
        const taken = await user.run(args, { input: ADMIN_PASSWORD });
        assert.equal(taken.code, 0, taken.stderr);
        // It is kept.
        assert.match(await user.ok("whoami"), /admin/);
        await writeFile(file("empty.crt"), "nothing");
        assert.equal((await user.run(["whoami", "--ca-file", file("empty.crt")])).code, 1);
      } finally {
        await secure.stop();
      }
    },
  );

  it("says that the registry is plain HTTP where HTTPS is asked for", async () => {
    const { code, stderr } = await login(cliUser(join(folder.path, "plain")), "admin", "x", registry.origin.replace("http:", "https:"));
    assert.equal(code, 1);
    assert.match(stderr, /speaks plain HTTP/);
  });
});

describe("docker-credential-berth", () => {
  it("gives, lists, stores and erases what the contexts hold", async () => {
    const user = cliUser(join(folder.path, "helper"));
    const { host } = new URL(registry.origin);
    const missing = await user.helper("get", host);
    assert.deepEqual(missing, { code: 1, stdout: "credentials not found in native keychain\n", stderr: "" });
    await login(user);
    assert.deepEqual(JSON.parse((await user.helper("get", `${host}\n`)).stdout), {
      ServerURL: host,
      Username: "admin",
      Secret: ADMIN_PASSWORD,
    });
    const stored = { ServerURL: "https://other.example.com/v1/", Username: "ada", Secret: "secret" };
    assert.equal((await user.helper("store", JSON.stringify(stored))).code, 0);
    assert.deepEqual(JSON.parse((await user.helper("list", "")).stdout), { [host]: "admin", "other.example.com": "ada" });
    assert.equal((JSON.parse((await user.helper("get", "other.example.com")).stdout) as { Username: string }).Username, "ada");
    assert.equal((await stat(user.file)).mode & 0o777, 0o600);
    // A registry that docker logs in to does not become the current context.
    assert.match(await user.ok("whoami"), /admin/);
    assert.equal((await user.helper("erase", "other.example.com")).code, 0);
    assert.equal((await user.helper("get", "other.example.com")).code, 1);
    assert.equal((await user.helper("forget", "")).code, 1);
  });
});
