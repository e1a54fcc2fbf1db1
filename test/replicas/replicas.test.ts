// Three replicas behind a plain round-robin proxy are one registry: uploads, tags, tokens, rights and collection agree, real clients and
// the conformance suite notice nothing, and no replica's or database's death loses anything acknowledged. On PostgreSQL with Ceph, and with
// one shared directory. Not here: one process's crashes (test/failure).
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { describe, it, type TestContext } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { commandsInNewHome } from "../clients/command.ts";
import { LAYOUT_TAG, readLayout, writeImage } from "../clients/images.ts";
import { runConformance } from "../conformance/suite.ts";
import { roundsOf } from "../failure/rounds.ts";
import { requireTool } from "../tools/install.ts";
import { everyoneCollects, lateWriterIsFenced, loseNothing } from "./aftermath.ts";
import { openFaultyLink, type FaultyLink } from "./faulty-link.ts";
import { checkImage, makeImage, MANIFEST_TYPE, pushImage, sha256 } from "./push-load.ts";
import { ADMIN, ask, AWAY_AFTER_MS, expectStatus, startReplicas, until, type Replicas, type SharedStore } from "./replicas.ts";

/** Leaves a test out: a skip would need an excuse. */
const notNow = ((): undefined => undefined) as unknown as typeof it;

/** Failed sign-ins before the lock, as the default has it. */
const FREE_FAILURES = 5;

/** Everything on both stores; without it, as in CI, each thing on one of them. */
const isLong = roundsOf({ usual: 0, long: 1 }) > 0;

for (const store of ["Ceph", "one directory"] as const satisfies readonly SharedStore[]) {
  const here = (chosen: SharedStore): typeof it => (isLong || chosen === store ? it : notNow);
  describe(`three replicas on PostgreSQL and ${store}`, () => {
    here("Ceph")("are one registry", async (t) => {
      const started = await startReplicas(t, store);
      if (started === undefined) return;
      const { proxy, replicas } = started;
      await t.test("spreads the requests", async () => {
        const before = [...proxy.given];
        for (let i = 0; i < 6; i++) await expectStatus(await ask(proxy.origin, "GET", "/v2/"), 200);
        assert.deepEqual(
          proxy.given.map((each, at) => each - before[at]!),
          [2, 2, 2],
        );
      });
      await t.test("an upload goes on and ends wherever its next request comes", () => uploadsMove(started));
      await t.test("one upload is written by one request at a time, wherever it runs", () => uploadsAreGuarded(started));
      await t.test("a tag written on one is never read stale on the others", () => tagsAreFresh(started));
      await t.test("a token of one opens all, also when it is the first that the others see of its key", () => tokensAreShared(started));
      await t.test("what is withdrawn on one ends everywhere within a second", () => rightsEnd(started));
      await t.test("failed sign-ins are counted together", () => failuresAreShared(started));
      await t.test("what is deleted on one is gone on all, and collected while others push", () => deletionsAreShared(started));
      await t.test("crane and skopeo push and pull through the proxy", (step) => clientsWork(step, started));
      await t.test("the conformance suite passes whole through the proxy", async (step) => {
        const suite = await requireTool(step, "conformance");
        if (suite !== undefined) await runConformance(step, suite, { host: proxy.host, user: ADMIN }, "dev");
        for (const each of replicas)
          assert.deepEqual(
            (await each.log()).filter((line) => line["level"] === "error"),
            [],
          );
      });
    });

    here("Ceph")("lose nothing when replicas are killed under load", async (t) => {
      const started = await startReplicas(t, store);
      if (started === undefined) return;
      await loseNothing(t, started, 300_000, async (load) => {
        await load.more(5);
        for (const replica of started.replicas) {
          await replica.kill();
          await load.more(8);
          await replica.start();
          await load.more(3);
        }
      });
    });

    here("one directory")("lose nothing when replicas are held still under load and go on later", async (t) => {
      const started = await startReplicas(t, store, { silenceMs: AWAY_AFTER_MS });
      if (started === undefined) return;
      await loseNothing(t, started, 300_000, async (load) => {
        await load.more(5);
        for (const replica of started.replicas) {
          replica.hold();
          await load.more(4);
          replica.resume();
          await load.more(3);
        }
      });
    });

    here("one directory")("a replica that comes back after its claim ran out writes nothing", async (t) => {
      const started = await startReplicas(t, store);
      if (started === undefined) return;
      await lateWriterIsFenced(
        started,
        (late) => late.hold(),
        (late) => late.resume(),
      );
    });
  });
}

describe("three replicas and their database", () => {
  it("say so while PostgreSQL is away, refuse writes cleanly, and go on by themselves", async (t) => {
    const started = await startReplicas(t, "one directory", { settings: { "database.acquireTimeoutSeconds": "2s" } });
    if (started === undefined) return;
    const { proxy, replicas, postgres } = started;
    const repository = "library/outage";
    const image = makeImage(100_000);
    await pushImage(proxy.origin, repository, "before", image);
    for (let round = 0; round < (isLong ? 2 : 1); round++) {
      await postgres.crash();
      for (const { origin } of replicas) {
        await until("not ready", async () => {
          const answer = await fetch(`${origin}/readyz`);
          const { checks } = (await answer.json()) as { checks: Record<string, string> };
          return answer.status === 503 && checks["database"] === "UNAVAILABLE" && checks["store"] === "ok";
        });
        assert.equal((await fetch(`${origin}/healthz`)).status, 200);
        for (const [method, path, body] of [
          ["POST", `/v2/${repository}/blobs/uploads/`, undefined],
          ["PUT", `/v2/${repository}/manifests/during`, image.manifest],
          ["GET", `/v2/${repository}/manifests/before`, undefined],
        ] as const) {
          const answer = await ask(origin, method, path, body === undefined ? {} : { body, headers: { "content-type": MANIFEST_TYPE } });
          const { errors } = (await answer.json()) as { errors: { code: string }[] };
          assert.deepEqual([answer.status, errors[0]?.code], [503, "UNAVAILABLE"], `${method} ${path}`);
          assert.match(answer.headers.get("retry-after") ?? "", /^\d+$/, `${method} ${path}`);
        }
      }
      await postgres.resume();
      for (const { origin } of replicas) await until("ready again", async () => (await fetch(`${origin}/readyz`)).status === 200);
      await checkImage(proxy.origin, repository, "before", image);
      await pushImage(proxy.origin, repository, `after-${round}`, makeImage(50_000));
    }
    await everyoneCollects(started);
  });

  it("lose nothing acknowledged when PostgreSQL dies under load", async (t) => {
    const started = await startReplicas(t, "one directory");
    if (started === undefined) return;
    await loseNothing(t, started, 100_000, async (load) => {
      for (let round = 0; round < 3; round++) {
        await load.more(6);
        await started.postgres.crash();
        await started.postgres.resume();
      }
      await load.more(6);
    });
  });
});

describe("three replicas and their store", () => {
  it("say so while S3 is overloaded, silent or away, refuse writes cleanly, and go on by themselves", async (t) => {
    let link: FaultyLink | undefined;
    const started = await startReplicas(t, "versitygw", {
      settings: { "storage.hotCacheBytes": "0" },
      onTheWay: async (endpoint) => {
        link = await openFaultyLink(endpoint);
        return link;
      },
    });
    if (started === undefined || link === undefined) return;
    const { proxy, replicas } = started;
    const repository = "library/store-outage";
    const image = makeImage(100_000);
    await pushImage(proxy.origin, repository, "before", image);
    const layer = image.blobs[1]!.digest;
    for (const mode of ["503", "refuse", "reset", "full", "silent"] as const) {
      link.set(mode);
      const refused = mode === "full" ? [507, "STORAGE_FULL"] : [503, "UNAVAILABLE"];
      for (const { origin } of replicas) {
        await until(`says so: ${mode}`, async () => {
          const answer = await fetch(`${origin}/readyz`);
          const { status, checks } = (await answer.json()) as { status: string; checks: Record<string, string> };
          if (checks["store"] === "ok") return false;
          assert.equal(checks["database"], "ok");
          // A full store serves all reads, and a store that is unreachable for all leaves each serving what it can: no proxy should skip any.
          assert.deepEqual([answer.status, status], mode === "full" ? [200, "full"] : [200, "degraded"]);
          return checks["store"] === (mode === "full" ? "STORAGE_FULL" : "UNAVAILABLE");
        });
        // Content in the database is served.
        await expectStatus(await ask(origin, "GET", `/v2/${repository}/manifests/before`), 200);
        await expectStatus(await ask(origin, "HEAD", `/v2/${repository}/blobs/${layer}`), 200);
      }
      // A silent service is given up after two attempts of 15 s and more, which only a long run waits for.
      if (mode !== "silent" || isLong) {
        const bytes = randomBytes(200_000);
        const write = `/v2/${repository}/blobs/uploads/?digest=${sha256(bytes)}`;
        await Promise.all(
          replicas.flatMap(({ origin }) =>
            [
              ["POST", write, { body: bytes, headers: { "content-type": "application/octet-stream" } }] as const,
              ["GET", `/v2/${repository}/blobs/${layer}`, {}] as const,
            ].map(async ([method, path, how]) => {
              const answer = await ask(origin, method, path, how);
              // A full store can still be read.
              if (mode === "full" && method === "GET") return void (await (await expectStatus(answer, 200)).arrayBuffer());
              const { errors } = (await answer.json()) as { errors: { code: string }[] };
              assert.deepEqual([answer.status, errors[0]?.code], refused, `${mode} ${method}`);
              if (mode !== "full") assert.match(answer.headers.get("retry-after") ?? "", /^\d+$/, `${mode} ${method}`);
            }),
          ),
        );
      }
      link.set("pass");
      for (const { origin } of replicas)
        await until("ready again", async () => (await (await fetch(`${origin}/readyz`)).text()).includes('"status":"ok"'));
      await checkImage(proxy.origin, repository, "before", image);
      await pushImage(proxy.origin, repository, `after-${mode}`, makeImage(50_000));
    }
    await everyoneCollects(started);
  });

  it("push and pull through an S3 that is slow, breaks off, or mixes up its tags, and say nothing wrong", async (t) => {
    let link: FaultyLink | undefined;
    const started = await startReplicas(t, "versitygw", {
      settings: { "storage.hotCacheBytes": "0", "storage.s3.partSizeBytes": "5MiB", "limits.uploadBytes": "1GiB" },
      onTheWay: async (endpoint) => {
        link = await openFaultyLink(endpoint);
        return link;
      },
    });
    if (started === undefined || link === undefined) return;
    const { replicas } = started;
    const [{ origin }] = replicas;
    const repository = "library/bad-store";
    for (const mode of ["slow", "truncate"] as const) {
      link.set(mode);
      const image = makeImage(700_000);
      await pushImage(origin, repository, mode, image);
      await checkImage(replicas[1].origin, repository, mode, image);
    }
    // Parts get the wrong tags: no client may be told that the layer exists, and nothing of it may exist.
    link.set("wrong-tags");
    const large = makeImage(11_000_000);
    const [, layer] = large.blobs;
    const octets = { "content-type": "application/octet-stream" };
    const push = (): Promise<Response> =>
      ask(origin, "POST", `/v2/${repository}/blobs/uploads/?digest=${layer!.digest}`, { headers: octets, body: layer!.bytes });
    const refused = await expectStatus(await push(), 503);
    assert.match(refused.headers.get("retry-after") ?? "", /^\d+$/);
    await expectStatus(await ask(origin, "HEAD", `/v2/${repository}/blobs/${layer!.digest}`), 404);
    link.set("pass");
    await pushImage(origin, repository, "large", large);
    await checkImage(replicas[2].origin, repository, "large", large);
    await everyoneCollects(started);
  });
});

async function uploadsMove({ replicas }: Replicas): Promise<void> {
  const repository = "library/moving";
  const octets = { "content-type": "application/octet-stream" };
  // Below and above the limit of the database, and of one part of an S3 upload.
  for (const sizeBytes of [3_000, 500_000, 21_000_000]) {
    const bytes = randomBytes(sizeBytes);
    const digest = sha256(bytes);
    let turn = 0;
    const next = (): string => replicas[turn++ % 3]!.origin;
    let path = (await expectStatus(await ask(next(), "POST", `/v2/${repository}/blobs/uploads/`), 202)).headers.get("location")!;
    const step = Math.ceil(sizeBytes / 4);
    for (let at = 0; at < 3 * step; at += step) {
      const headers = { ...octets, "content-range": `${at}-${at + step - 1}` };
      const answer = await expectStatus(await ask(next(), "PATCH", path, { headers, body: bytes.subarray(at, at + step) }), 202);
      path = answer.headers.get("location")!;
      const seen = await expectStatus(await ask(next(), "GET", path), 204);
      assert.equal(seen.headers.get("range"), `0-${at + step - 1}`);
    }
    await expectStatus(await ask(next(), "PUT", `${path}?digest=${digest}`, { headers: octets, body: bytes.subarray(3 * step) }), 201);
    for (const { origin } of replicas) {
      const pulled = await expectStatus(await ask(origin, "GET", `/v2/${repository}/blobs/${digest}`), 200);
      assert.equal(sha256(Buffer.from(await pulled.arrayBuffer())), digest);
    }
  }
}

async function uploadsAreGuarded({ replicas }: Replicas): Promise<void> {
  const repository = "library/guarded";
  const bytes = randomBytes(400_000);
  const digest = sha256(bytes);
  const headers = { "content-type": "application/octet-stream", "content-range": `0-${bytes.length - 1}` };
  for (let round = 0; round < 10; round++) {
    const begun = await expectStatus(await ask(replicas[0].origin, "POST", `/v2/${repository}/blobs/uploads/`), 202);
    const path = begun.headers.get("location")!;
    const answers = await Promise.all(replicas.map(({ origin }) => ask(origin, "PATCH", path, { headers, body: bytes })));
    const statuses = answers.map(({ status }) => status).toSorted((a, b) => a - b);
    // The others came while it wrote (409), or after it (416: not the upload's offset).
    assert.equal(statuses[0], 202, String(statuses));
    for (const status of statuses.slice(1)) assert.ok(status === 409 || status === 416, String(statuses));
    await expectStatus(await ask(replicas[1].origin, "PUT", `${path}?digest=${digest}`), 201);
  }
}

async function tagsAreFresh({ replicas, proxy }: Replicas): Promise<void> {
  const repository = "library/fresh";
  const images = [makeImage(100), makeImage(100), makeImage(100)];
  for (const [at, image] of images.entries()) await pushImage(proxy.origin, repository, `image-${at}`, image);
  // Other readers constantly look up the same tag on every replica, beside the one that counts.
  let isOver = false;
  const noise = replicas.map(async ({ origin }) => {
    while (!isOver) await (await ask(origin, "HEAD", `/v2/${repository}/manifests/latest`)).body?.cancel();
  });
  for (let round = 0; round < (isLong ? 1000 : 200); round++) {
    const image = images[round % images.length]!;
    const writer = replicas[round % 3]!;
    const headers = { "content-type": MANIFEST_TYPE };
    await expectStatus(await ask(writer.origin, "PUT", `/v2/${repository}/manifests/latest`, { headers, body: image.manifest }), 201);
    const seen = await Promise.all(
      replicas.map(async ({ origin }) => {
        const answer = await expectStatus(await ask(origin, "HEAD", `/v2/${repository}/manifests/latest`), 200);
        return answer.headers.get("docker-content-digest");
      }),
    );
    assert.deepEqual(seen, [image.digest, image.digest, image.digest], `round ${round}`);
  }
  isOver = true;
  await Promise.all(noise);
}

async function tokensAreShared({ replicas, proxy }: Replicas): Promise<void> {
  const repository = "library/tokens";
  await pushImage(proxy.origin, repository, "v1", makeImage(100));
  for (const issuer of replicas) {
    const answer = await expectStatus(await ask(issuer.origin, "GET", `/token?service=berth&scope=repository:${repository}:pull`), 200);
    const { token } = (await answer.json()) as { token: string };
    for (const { origin } of replicas) await expectStatus(await ask(origin, "GET", `/v2/${repository}/manifests/v1`, { token }), 200);
  }
}

async function rightsEnd({ replicas, proxy }: Replicas): Promise<void> {
  const repository = "withdrawn/app";
  const api = async (at: number, method: string, path: string, body: unknown, status: number): Promise<Record<string, unknown>> => {
    const headers = { "content-type": "application/json" };
    const answer = await expectStatus(
      await ask(replicas[at]!.origin, method, `/api/v1${path}`, { headers, body: JSON.stringify(body) }),
      status,
    );
    const text = await answer.text();
    return text === "" ? {} : (JSON.parse(text) as Record<string, unknown>);
  };
  await api(0, "POST", "/projects", { name: "withdrawn", visibility: "private" }, 201);
  await pushImage(proxy.origin, repository, "v1", makeImage(100));
  const scopes = [{ repositories: "withdrawn/*", actions: ["pull"] }];
  const robot = await api(0, "POST", "/projects/withdrawn/robots", { name: "ci", scopes }, 201);
  const user = { name: "mallory", password: "mallory-test-password" };
  await api(1, "POST", "/users", user, 201);

  const manifest = `/v2/${repository}/manifests/v1`;
  /** Waits until the credentials work on every replica, so that every cache holds them; then revokes them, and checks again. */
  async function endsEverywhere(
    credentials: { name: string; password: string },
    opened: number,
    withdraw: () => Promise<unknown>,
    refused: readonly number[],
  ): Promise<void> {
    const issued = await ask(replicas[2].origin, "GET", `/token?service=berth&scope=repository:${repository}:pull`, { user: credentials });
    const { token } = (await (await expectStatus(issued, 200)).json()) as { token: string };
    const statuses = (): Promise<number[]> =>
      Promise.all(
        replicas.flatMap(({ origin }) =>
          [{ user: credentials }, { token }].map(async (how) => {
            const answer = await ask(origin, "GET", manifest, how);
            await answer.body?.cancel();
            return answer.status;
          }),
        ),
      );
    await until("open everywhere", async () => (await statuses()).every((status) => status === opened));
    await withdraw();
    // The documented delay is a second; after it nothing works any more, on no replica, with neither kind of credentials.
    await sleep(1000);
    for (const status of await statuses()) assert.ok(refused.includes(status), `${status} is none of ${String(refused)}`);
  }

  const robotLogin = { name: String(robot["login"]), password: String(robot["secret"]) };
  await endsEverywhere(robotLogin, 200, () => api(1, "PATCH", "/projects/withdrawn/robots/ci", { isDisabled: true }, 200), [401]);
  await api(2, "PATCH", "/projects/withdrawn/robots/ci", { isDisabled: false }, 200);
  await endsEverywhere(robotLogin, 200, () => api(0, "POST", "/projects/withdrawn/robots/ci/secret", {}, 200), [401]);
  await api(2, "PUT", "/projects/withdrawn/members/mallory", { role: "guest" }, 200);
  await endsEverywhere(user, 200, () => api(0, "DELETE", "/projects/withdrawn/members/mallory", undefined, 204), [404]);
}

async function failuresAreShared({ replicas }: Replicas): Promise<void> {
  const user = { name: "victim", password: "victim-test-password" };
  const headers = { "content-type": "application/json" };
  await expectStatus(await ask(replicas[0].origin, "POST", "/api/v1/users", { headers, body: JSON.stringify(user) }), 201);
  const statuses: number[] = [];
  // From an address of its own, so that other tests stay out of it.
  const forwarded = { "x-forwarded-for": "192.0.2.77" };
  for (let i = 0; i < 3 * FREE_FAILURES; i++) {
    const answer = await ask(replicas[i % 3]!.origin, "GET", "/v2/", { user: { ...user, password: `wrong-${i}` }, headers: forwarded });
    await answer.body?.cancel();
    statuses.push(answer.status);
  }
  // The limit is for all replicas together, not for each.
  assert.deepEqual(statuses, [...Array(FREE_FAILURES).fill(401), ...Array(2 * FREE_FAILURES).fill(429)]);
  for (const { origin } of replicas) await expectStatus(await ask(origin, "GET", "/v2/", { user, headers: forwarded }), 429);
}

async function deletionsAreShared({ replicas, proxy }: Replicas): Promise<void> {
  const repository = "library/deleted";
  const kept = makeImage(60_000);
  await pushImage(proxy.origin, repository, "kept", kept);
  for (let round = 0; round < 20; round++) {
    const image = makeImage(60_000);
    await pushImage(proxy.origin, repository, "gone", image);
    const [deleter, reader, other] = [0, 1, 2].map((at) => replicas[(round + at) % 3]!);
    await expectStatus(await ask(reader!.origin, "GET", `/v2/${repository}/manifests/gone`), 200);
    await expectStatus(await ask(deleter!.origin, "DELETE", `/v2/${repository}/manifests/${image.digest}`), 202);
    for (const { origin } of [reader!, other!, deleter!]) {
      for (const reference of ["gone", image.digest]) {
        await expectStatus(await ask(origin, "GET", `/v2/${repository}/manifests/${reference}`), 404);
      }
    }
  }
  await checkImage(proxy.origin, repository, "kept", kept);
}

async function clientsWork(t: TestContext, { proxy, replicas }: Replicas): Promise<void> {
  const crane = await requireTool(t, "crane");
  const skopeo = await requireTool(t, "skopeo");
  if (crane === undefined || skopeo === undefined) return;
  const commands = await commandsInNewHome("replicas");
  try {
    const { host } = proxy;
    await commands.run(crane, "auth", "login", "--insecure", host, "-u", ADMIN.name, "-p", ADMIN.password);
    await commands.run(skopeo, "login", "--tls-verify=false", "-u", ADMIN.name, "-p", ADMIN.password, host);
    for (const shape of ["gzip", "hundred-layers", "index"] as const) {
      const image = await writeImage(`${commands.home}/${shape}`, shape, "replicas");
      const byCrane = `${host}/library/clients/crane:${shape}`;
      await commands.run(crane, "push", "--insecure", image.folder, byCrane);
      await commands.run(
        skopeo,
        "copy",
        "--all",
        "--src-tls-verify=false",
        `docker://${byCrane}`,
        `oci:${commands.home}/s-${shape}:${LAYOUT_TAG}`,
      );
      assert.deepEqual((await readLayout(`${commands.home}/s-${shape}`)).content, image.content);
      const bySkopeo = `${host}/library/clients/skopeo:${shape}`;
      const to = ["copy", "--all", "--preserve-digests", "--dest-tls-verify=false"];
      await commands.run(skopeo, ...to, `oci:${image.folder}:${LAYOUT_TAG}`, `docker://${bySkopeo}`);
      await commands.run(crane, "pull", "--insecure", "--format=oci", bySkopeo, `${commands.home}/c-${shape}`);
      assert.deepEqual((await readLayout(`${commands.home}/c-${shape}`)).content, image.content);
    }
    assert.ok(
      proxy.given.every((requests) => requests > 100),
      String(proxy.given),
    );
  } finally {
    await commands.end();
  }
  for (const each of replicas)
    assert.deepEqual(
      (await each.log()).filter((line) => line["level"] === "error"),
      [],
    );
}
