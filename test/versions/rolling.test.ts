// Upgrade and downgrade by one version. Replicas of the previous release and of this tree serve one PostgreSQL and one directory at once
// behind a proxy, while clients push, mount, delete and pull and both collect; one after another they are replaced, forwards and back. On
// SQLite the one server stops, and the other version continues with its files. Not here: a `migrate` that is killed (migrate-kill.test.ts).
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { describe, it, type TestContext } from "node:test";
import pg from "pg";
import { postgresSettings } from "../clients/storage.ts";
import { checkImage, makeImage, pushImage, sha256 } from "../replicas/push-load.ts";
import { ask, expectStatus, until } from "../replicas/replicas.ts";
import { startRoundRobin } from "../replicas/round-robin.ts";
import { skipOrThrow } from "../tools/install.ts";
import { temporaryFolder } from "../tools/processes.ts";
import { startPostgres } from "../tools/servers.ts";
import { startMixedLoad } from "./mixed-load.ts";
import { previousRelease, runCommand, thisTree, type Ended, type Version } from "./release.ts";
import { flagsOf, startReplaceable, type Replaceable, type Settings } from "./replaceable.ts";

/** Short, so that blobs are collected while versions change; long enough for a push on a busy machine. */
const LEASE_MS = 6_000;
const EAGER: Settings = {
  "push.sparseImages": "refuse",
  "gc.intervalSeconds": "1s",
  "gc.leaseSeconds": `${LEASE_MS / 1000}s`,
  "gc.graceSeconds": "1s",
};

async function folderOf(t: TestContext, name: string): Promise<string> {
  const folder = await temporaryFolder(name);
  t.after(() => rm(folder, { recursive: true, force: true, maxRetries: 3 }));
  return folder;
}

async function expectCode(code: number, version: Version, args: readonly string[]): Promise<Ended> {
  const ended = await runCommand(version, args);
  assert.equal(ended.code, code, `${version.name} ${args[0]}: ${ended.stdout}${ended.stderr}`);
  return ended;
}

/** Begins an upload at one version, continues it at a second, and finishes it at a third. */
async function uploadAcross(origins: readonly [string, string, string], repository: string): Promise<void> {
  const bytes = randomBytes(90_000);
  const headers = { "content-type": "application/octet-stream" };
  const begun = await expectStatus(await ask(origins[0], "POST", `/v2/${repository}/blobs/uploads/`), 202);
  let at = pathOf(begun.headers.get("location")!);
  for (const [turn, origin] of [origins[0], origins[1]].entries()) {
    const body = bytes.subarray(turn * 30_000, (turn + 1) * 30_000);
    at = pathOf((await expectStatus(await ask(origin, "PATCH", at, { headers, body }), 202)).headers.get("location")!);
  }
  const rest = bytes.subarray(60_000);
  await expectStatus(await ask(origins[2], "PUT", `${at}?digest=${sha256(bytes)}`, { headers, body: rest }), 201);
  for (const origin of origins) {
    const blob = await expectStatus(await ask(origin, "GET", `/v2/${repository}/blobs/${sha256(bytes)}`), 200);
    assert.equal(sha256(Buffer.from(await blob.arrayBuffer())), sha256(bytes));
  }
}

function pathOf(location: string): string {
  const { pathname, search } = new URL(location, "http://any");
  return pathname + search;
}

async function tokenOf(origin: string, repository: string): Promise<string> {
  const answer = await ask(origin, "GET", `/token?service=berth&scope=repository:${repository}:pull,push`);
  return ((await (await expectStatus(answer, 200)).json()) as { token: string }).token;
}

/** What a client may take from one version to the other: an upload, a token, a tag, an image to mount, a revoked right. */
async function workAcross(one: string, other: string): Promise<void> {
  for (const [from, to] of [
    [one, other],
    [other, one],
  ] as const) {
    const repository = `library/across-${randomBytes(4).toString("hex")}`;
    await uploadAcross([from, to, from], repository);
    await uploadAcross([from, from, to], repository);
    const token = await tokenOf(from, repository);
    await expectStatus(await ask(to, "POST", `/v2/${repository}/blobs/uploads/`, { token }), 202);
    const [first, second] = [makeImage(30_000), makeImage(30_000)];
    await pushImage(from, repository, "v", first);
    await checkImage(to, repository, "v", first);
    await pushImage(to, repository, "v", second);
    await checkImage(from, repository, "v", second);
    await expectStatus(await ask(from, "DELETE", `/v2/${repository}/manifests/v`), 202);
    await expectStatus(await ask(to, "GET", `/v2/${repository}/manifests/v`), 404);
    const robot = `r${randomBytes(4).toString("hex")}`;
    const asked = { name: robot, scopes: [{ repositories: "library/**", actions: ["pull"] }] };
    const headers = { "content-type": "application/json" };
    const made = await ask(from, "POST", "/api/v1/projects/library/robots", { headers, body: JSON.stringify(asked) });
    const { login, secret } = (await (await expectStatus(made, 201)).json()) as { login: string; secret: string };
    const user = { name: login, password: secret };
    await expectStatus(await ask(to, "GET", `/v2/${repository}/tags/list`, { user }), 200);
    await expectStatus(await ask(from, "DELETE", `/api/v1/projects/library/robots/${robot}`), 204);
    await until("a withdrawn robot is refused by the other version", async () => {
      const { status } = await ask(to, "GET", `/v2/${repository}/tags/list`, { user });
      return status === 401;
    });
  }
}

async function rollBothWays(t: TestContext): Promise<void> {
  let old: Version;
  let postgres: Awaited<ReturnType<typeof startPostgres>>;
  try {
    old = await previousRelease(t);
    postgres = await startPostgres();
  } catch (error) {
    return skipOrThrow(t, error);
  }
  t.after(() => postgres.stop());
  const now = await thisTree();
  const store = await folderOf(t, "versions-store");
  const settings: Settings = {
    ...(await postgresSettings(postgres)),
    ...EAGER,
    "storage.filesystem.directory": store,
    "http.trustedProxies": "127.0.0.0/8",
    "auth.service": "berth",
  };
  const command = flagsOf({ ...settings, data: await folderOf(t, "versions-command") });
  const first = await startReplaceable(t, old, settings);
  const replicas = [first, ...(await Promise.all([startReplaceable(t, old, settings), startReplaceable(t, old, settings)]))];
  // No answer here takes 20 s.
  const proxy = await startRoundRobin({ hosts: replicas.map(({ host }) => host), silenceMs: 20_000 });
  t.after(() => proxy.stop());
  const [one, two, three] = replicas as [typeof first, typeof first, typeof first];

  const load = startMixedLoad(proxy.origin, { clients: 3, leaseMs: LEASE_MS });
  t.after(() => load.giveUp());
  await load.more(3);

  // Up: the first of the new ones migrates the database, and the old ones continue.
  await one.replaceBy(now);
  await load.more(3);
  await workAcross(one.origin, two.origin);
  if (now.databaseVersion > old.databaseVersion && !old.readsCompatibility) {
    // The effect of an old replica's crash meanwhile: it cannot start again, and says why.
    const refused = await expectCode(1, old, ["migrate", ...command]);
    assert.match(refused.stderr, /newer than this program's/);
  }
  await two.replaceBy(now);
  await load.more(2);
  await workAcross(three.origin, one.origin);
  await three.replaceBy(now);
  await load.more(3);

  // Down: if the release knows no newer database, this tree's program migrates the database back first, under its replicas. These write
  // nothing from then on and continue with pulls, so that clients retry their pushes until the release's replicas have replaced them.
  if (!old.readsCompatibility) {
    const { stdout } = await expectCode(0, now, ["migrate", "--to", String(old.databaseVersion), "--yes", ...command]);
    assert.match(stdout, new RegExp(`is at version ${old.databaseVersion}\n$`));
    for (const { origin } of replicas) {
      await until("a replica of this tree is not ready", async () => (await ask(origin, "GET", "/readyz")).status === 503);
      const refused = await expectStatus(await ask(origin, "POST", "/v2/library/later/blobs/uploads/"), 503);
      assert.match(await refused.text(), /DATABASE_VERSION/);
      assert.ok(refused.headers.has("retry-after"));
    }
  }
  await three.replaceBy(old);
  if (old.readsCompatibility) {
    await load.more(2);
    await workAcross(three.origin, one.origin);
  }
  await two.replaceBy(old);
  await one.replaceBy(old);
  await load.more(3);
  await load.stop();
  t.diagnostic(`${JSON.stringify(Object.fromEntries(load.counts))}; tried again: ${JSON.stringify(Object.fromEntries(load.retries))}`);
  for (const { origin } of replicas) await load.check(origin);
  const { stdout } = await expectCode(0, old, ["doctor", "--deep", ...command]);
  t.diagnostic(stdout.trim());

  // And up again: content written under the release counts like everything else, and unreferenced content is collected.
  await two.replaceBy(now);
  await load.check(two.origin);
  await expectCode(0, now, ["doctor", "--deep", ...command]);
  await expectCollected(settings["database.url"]!, store);
  await load.check(one.origin);
  await expectCode(0, now, ["doctor", "--deep", ...command]);
  for (const replica of replicas) assert.deepEqual(await errorsOf(replica, old.readsCompatibility ? "" : "DATABASE_VERSION"), []);
}

/** The errors that a server has logged, except those with a code that is expected. */
async function errorsOf({ log }: Replaceable, expected: string): Promise<string[]> {
  const lines = (await log()).split("\n").filter((line) => /"level":"(?:error|fatal)"/.test(line));
  return lines.filter((line) => expected === "" || (JSON.parse(line) as { err?: { code?: string } }).err?.code !== expected);
}

/** Waits until nothing is left to collect, and compares the store's content with what the database names. */
async function expectCollected(url: string, store: string): Promise<void> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    const count = async (from: string): Promise<number> => Number((await client.query(`select count(*) as n from ${from}`)).rows[0].n);
    await until(
      "all that is dead is collected",
      async () => (await count("reclaim")) + (await count("repository_blob where leased_until is not null")) === 0,
    );
    const files = (await readdir(join(store, "blobs"), { recursive: true, withFileTypes: true })).filter((entry) => entry.isFile());
    assert.equal(files.length, await count("blob where storage_key is not null"));
  } finally {
    await client.end();
  }
}

async function exchangeBothWays(t: TestContext): Promise<void> {
  let old: Version;
  try {
    old = await previousRelease(t);
  } catch (error) {
    return skipOrThrow(t, error);
  }
  const now = await thisTree();
  const folder = await folderOf(t, "versions-sqlite");
  const settings: Settings = { data: join(folder, "data"), "auth.secretKey": randomBytes(32).toString("hex"), ...EAGER };
  const command = flagsOf(settings);
  const server = await startReplaceable(t, old, settings);
  const images = new Map<string, ReturnType<typeof makeImage>>();
  const push = async (tag: string): Promise<void> => {
    const image = makeImage(50_000);
    await pushImage(server.origin, "library/app", tag, image);
    images.set(tag, image);
  };
  const checkAll = async (): Promise<void> => {
    for (const [tag, image] of images) await checkImage(server.origin, "library/app", tag, image);
  };
  /** Begins an upload, replaces the program, and finishes it there. */
  const exchange = async (change: () => Promise<void>): Promise<void> => {
    const bytes = randomBytes(70_000);
    const headers = { "content-type": "application/octet-stream" };
    const begun = await expectStatus(await ask(server.origin, "POST", "/v2/library/app/blobs/uploads/"), 202);
    const at = pathOf(begun.headers.get("location")!);
    const body = bytes.subarray(0, 40_000);
    const next = await expectStatus(await ask(server.origin, "PATCH", at, { headers, body }), 202);
    await change();
    const end = `${pathOf(next.headers.get("location")!)}?digest=${sha256(bytes)}`;
    await expectStatus(await ask(server.origin, "PUT", end, { headers, body: bytes.subarray(40_000) }), 201);
    await checkAll();
  };
  await push("one");
  await push("two");
  await expectCode(0, old, ["backup", join(folder, "backup"), ...command]);
  await exchange(() => server.replaceBy(now));
  await push("three");
  await expectStatus(await ask(server.origin, "DELETE", `/v2/library/app/manifests/${images.get("one")!.digest}`), 202);
  images.delete("one");
  await expectCode(0, now, ["doctor", "--deep", ...command]);

  await exchange(async () => {
    await server.end();
    if (!old.readsCompatibility) {
      if (now.databaseVersion > old.databaseVersion) {
        assert.match((await expectCode(1, old, ["serve", ...command])).stderr, /newer than this program's/);
      }
      await expectCode(0, now, ["migrate", "--to", String(old.databaseVersion), "--yes", ...command]);
    }
    await server.replaceBy(old);
  });
  await push("four");
  await expectCode(0, old, ["doctor", "--deep", ...command]);
  await exchange(() => server.replaceBy(now));
  await expectCode(0, now, ["doctor", "--deep", ...command]);
  assert.deepEqual(await errorsOf(server, ""), []);

  // The release's backup is restored under this tree's program.
  const restored = flagsOf({ ...settings, data: join(folder, "restored") });
  await expectCode(0, now, ["restore", join(folder, "backup"), ...restored]);
  await expectCode(0, now, ["doctor", "--deep", ...restored]);
}

// Side by side: mostly they wait for processes and disks.
describe("the release before and this tree", { concurrency: 2 }, () => {
  it("serve together through a rolling upgrade and a rolling downgrade", rollBothWays);
  it("exchange places on SQLite, forwards and back", exchangeBothWays);
});
