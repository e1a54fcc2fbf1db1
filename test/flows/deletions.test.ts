// Many tags and manifests taken away by a plan, over HTTP: what it says beforehand, what its run does, and when it is refused.
// Not here: who may (access-matrix.test.ts), which manifests stay in every world (features/deletions/choose.test.ts).
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { ENGINES } from "./engines.testing.ts";
import { expectStatus, sha256, startTestRegistry, type TestRegistry } from "./registry.testing.ts";

const IMAGE = "application/vnd.oci.image.manifest.v1+json";
const INDEX = "application/vnd.oci.image.index.v1+json";
const APP = "/projects/library/repositories/app";

interface Plan {
  readonly id: string;
  readonly state: string;
  readonly tags: number;
  readonly manifests: number;
  readonly stays: number;
  readonly freedBytes: number;
  readonly deleted: number;
  readonly kept: number;
}

async function api(registry: TestRegistry, method: string, path: string, body?: unknown) {
  const json = body === undefined ? {} : { headers: { "content-type": "application/json" }, body: JSON.stringify(body) };
  const answer = await registry.send(method, `/api/v1${path}`, json);
  return { status: answer.status, body: (await answer.json()) as Record<string, unknown> };
}

async function plan(registry: TestRegistry, body: object): Promise<Plan> {
  const made = await api(registry, "POST", `${APP}/deletions`, body);
  assert.equal(made.status, 201, JSON.stringify(made.body));
  return made.body as unknown as Plan;
}

async function run(registry: TestRegistry, { id }: Plan): Promise<Plan> {
  const begun = await api(registry, "POST", `${APP}/deletions/${id}/run`);
  assert.equal(begun.status, 202, JSON.stringify(begun.body));
  for (;;) {
    const { body } = await api(registry, "GET", `${APP}/deletions/${id}`);
    if (body["state"] !== "running") return body as unknown as Plan;
    await sleep(50);
  }
}

const tagsOf = async (registry: TestRegistry): Promise<string[]> =>
  ((await api(registry, "GET", `${APP}/tags?limit=200`)).body["items"] as { name: string }[]).map(({ name }) => name);

async function push(registry: TestRegistry, reference: string, manifest: object, type: string): Promise<string> {
  const body = JSON.stringify(manifest);
  const sent = await registry.send("PUT", `/v2/library/app/manifests/${reference}`, { body, headers: { "content-type": type } });
  await expectStatus(sent, 201);
  return sha256(body);
}

for (const engine of ENGINES) {
  describe(`plans to delete on ${engine.name}`, { skip: engine.skip }, () => {
    it("untag by a prefix, and delete what has no tag but for what is a part of something or about it", async (t) => {
      const registry = await startTestRegistry((await engine.make(t)).settings, { jobs: true });
      t.after(() => registry.stop());
      const kept = await registry.pushImage("library/app", "v1", 1000);
      const gone = await registry.pushImage("library/app", "pr-1", 2000);
      await push(registry, "pr-2", JSON.parse(gone.manifest) as object, IMAGE);
      const part = await registry.pushImage("library/app", "part", 3000);
      const platform = { os: "linux", architecture: "amd64" };
      const child = { mediaType: IMAGE, digest: part.digest, size: Buffer.byteLength(part.manifest), platform };
      const index = await push(registry, "multi", { schemaVersion: 2, mediaType: INDEX, manifests: [child] }, INDEX);
      const subject = { mediaType: IMAGE, digest: kept.digest, size: Buffer.byteLength(kept.manifest) };
      const empty = { mediaType: "application/vnd.oci.empty.v1+json", digest: kept.configDigest, size: 151 };
      const about = { schemaVersion: 2, mediaType: IMAGE, artifactType: "text/x-signature", config: empty, layers: [], subject };
      const signature = sha256(JSON.stringify(about));
      await push(registry, signature, about, IMAGE);

      const untag = await plan(registry, { action: "untag", prefix: "p" });
      assert.deepEqual([untag.state, untag.tags, untag.manifests, untag.freedBytes], ["planned", 3, 0, 0]);
      assert.deepEqual(await tagsOf(registry), ["multi", "part", "pr-1", "pr-2", "v1"]);
      const untagged = await run(registry, untag);
      assert.deepEqual([untagged.state, untagged.deleted, untagged.kept], ["done", 3, 0]);
      assert.deepEqual(await tagsOf(registry), ["multi", "v1"]);
      const history = await api(registry, "GET", `${APP}/tags/pr-1/history`);
      assert.deepEqual(
        (history.body["items"] as { digest: string | null; by: string }[]).map(({ digest, by }) => [digest, by]),
        [
          [null, "admin"],
          [gone.digest, "admin"],
        ],
      );
      assert.equal((await api(registry, "POST", `${APP}/deletions/${untag.id}/run`)).status, 409);

      const clean = await plan(registry, { action: "delete", untagged: true });
      assert.deepEqual([clean.tags, clean.manifests, clean.stays], [0, 1, 2]);
      assert.equal(
        clean.freedBytes,
        Buffer.byteLength(gone.manifest) + gone.layer.length + (gone.configDigest === kept.configDigest ? 0 : 151),
      );
      const { items } = (await api(registry, "GET", `${APP}/deletions/${clean.id}/items`)).body as {
        items: { digest: string; stays: unknown }[];
      };
      assert.deepEqual(
        new Map(items.map(({ digest, stays }) => [digest, stays])),
        new Map<string, unknown>([
          [gone.digest, null],
          [part.digest, { because: "in-index", of: index }],
          [signature, { because: "attached", of: kept.digest }],
        ]),
      );
      const cleaned = await run(registry, clean);
      assert.deepEqual([cleaned.state, cleaned.deleted], ["done", 1]);
      await expectStatus(await registry.send("GET", `/v2/library/app/manifests/${gone.digest}`), 404);
      await expectStatus(await registry.send("GET", `/v2/library/app/manifests/${part.digest}`), 200);
    });

    it("are run for a personal token, by what it lets through", async (t) => {
      const registry = await startTestRegistry((await engine.make(t)).settings, { jobs: true });
      t.after(() => registry.stop());
      await registry.pushImage("library/app", "old", 100);
      const scopes = [{ repositories: "library/app", actions: ["pull", "delete"] }];
      const { body } = await api(registry, "POST", "/users/me/tokens", { name: "cleaner", scopes, api: "write" });
      const headers = { authorization: `Bearer ${String(body["secret"])}` };
      const cleaner: TestRegistry = { ...registry, send: (method, path) => registry.send(method, path, { headers }) };
      const done = await run(cleaner, await plan(registry, { action: "untag", tags: ["old"] }));
      assert.deepEqual([done.state, done.deleted, done.kept], ["done", 1, 0]);
      assert.deepEqual(await tagsOf(registry), []);
    });

    it("are forgotten where many come after them, whatever became of them", async (t) => {
      const registry = await startTestRegistry((await engine.make(t)).settings);
      t.after(() => registry.stop());
      await registry.pushImage("library/app", "old", 100);
      const status = async ({ id }: Plan) => (await api(registry, "GET", `${APP}/deletions/${id}`)).status;
      const plans: Plan[] = [];
      for (let made = 0; made < 12; made++) {
        plans.push(await plan(registry, { action: "untag", tags: ["old"] }));
        await api(registry, "POST", `${APP}/deletions/${plans.at(-1)!.id}/cancel`);
      }
      assert.deepEqual([await status(plans[0]!), await status(plans[1]!), await status(plans[2]!)], [404, 404, 200]);
    });

    it("are refused where a tag was moved or came meanwhile, and where they choose nothing; cancelled ones never run", async (t) => {
      const registry = await startTestRegistry((await engine.make(t)).settings, { jobs: true });
      t.after(() => registry.stop());
      const first = await registry.pushImage("library/app", "old", 100);
      const moved = await plan(registry, { action: "untag", tags: ["old"] });
      await registry.pushImage("library/app", "old", 100);
      const refused = await api(registry, "POST", `${APP}/deletions/${moved.id}/run`);
      assert.deepEqual([refused.status, JSON.stringify(refused.body).includes("PLAN_CHANGED")], [409, true]);

      const named = await plan(registry, { action: "delete", digests: [first.digest] });
      assert.equal(named.manifests, 1);
      await push(registry, "new", JSON.parse(first.manifest) as object, IMAGE);
      assert.match(JSON.stringify((await api(registry, "POST", `${APP}/deletions/${named.id}/run`)).body), /PLAN_CHANGED/);

      const tagged = await plan(registry, { action: "delete", tags: ["new"] });
      assert.deepEqual([tagged.tags, tagged.manifests, tagged.stays], [1, 1, 0]);
      await push(registry, "also", JSON.parse(first.manifest) as object, IMAGE);
      assert.match(JSON.stringify((await api(registry, "POST", `${APP}/deletions/${tagged.id}/run`)).body), /PLAN_CHANGED/);
      const another = await plan(registry, { action: "delete", tags: ["new"] });
      assert.deepEqual([another.tags, another.manifests, another.stays], [0, 0, 1]);

      const dropped = await plan(registry, { action: "untag", tags: ["new"] });
      assert.equal((await api(registry, "POST", `${APP}/deletions/${dropped.id}/cancel`)).body["state"], "cancelled");
      assert.match(JSON.stringify((await api(registry, "POST", `${APP}/deletions/${dropped.id}/run`)).body), /PLAN_ENDED/);
      assert.deepEqual(await tagsOf(registry), ["also", "new", "old"]);
      for (const body of [{ action: "untag" }, { action: "untag", digests: [first.digest] }, { action: "delete", untagged: false }])
        assert.match(JSON.stringify((await api(registry, "POST", `${APP}/deletions`, body)).body), /FIELD_INVALID/);
    });
  });
}
