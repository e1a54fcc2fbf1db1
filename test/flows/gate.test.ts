// Content that a gate refuses is not served: by tag and by digest, by GET and HEAD, an index and its children, blobs, and by mounting; with
// both gates of gates.testing.ts, on both databases, over HTTP. Not here: several gates, and gates that do not answer
// (distribution/gatekeeper.test.ts).
import assert from "node:assert/strict";
import { describe, it, before, after, type TestContext } from "node:test";
import { putProjectTrait, type ProjectTrait } from "../../apps/server/src/access/project-traits.ts";
import type { FeaturePorts } from "../../apps/server/src/compose/ports.ts";
import type { Database } from "../../apps/server/src/platform/database/database.ts";
import { statement } from "../../apps/server/src/platform/database/statement.ts";
import { codeOf, ENGINES, until } from "./engines.testing.ts";
import { fakeGate, policyTrait, tableGate, type TestGate } from "./gates.testing.ts";
import { expectStatus, sha256, startTestRegistry, type SendOptions, type TestRegistry } from "./registry.testing.ts";

const OCI = "application/vnd.oci.image.manifest.v1+json";
const INDEX = "application/vnd.oci.image.index.v1+json";
const PASSWORD = "gate-test-password";
const REASON = '2 critical findings, é "quoted"\r\nset-cookie: x';
const REASON_PLAIN = '2 critical findings, e "quoted" set-cookie: x';

const findProject = statement<{ name: string }>()("test.project_id", (db, p) =>
  db.selectFrom("project").select("id").where("name", "=", p.name),
);

/** An image of the layer, with a config of its own. */
async function pushImage(registry: TestRegistry, repository: string, tag: string, layer: Uint8Array) {
  const layerDigest = await registry.pushBlob(repository, layer);
  const config = JSON.stringify({ architecture: "amd64", os: "linux", tag });
  const configDigest = await registry.pushBlob(repository, Buffer.from(config));
  const manifest = JSON.stringify({
    schemaVersion: 2,
    mediaType: OCI,
    config: { mediaType: "application/vnd.oci.image.config.v1+json", digest: configDigest, size: config.length },
    layers: [{ mediaType: "application/vnd.oci.image.layer.v1.tar", digest: layerDigest, size: layer.length }],
  });
  await expectStatus(
    await registry.send("PUT", `/v2/${repository}/manifests/${tag}`, { body: manifest, headers: { "content-type": OCI } }),
    201,
  );
  return { digest: sha256(manifest), manifest, layerDigest, configDigest };
}

async function pushIndex(
  registry: TestRegistry,
  repository: string,
  tag: string,
  children: readonly { digest: string; manifest: string }[],
) {
  const manifest = JSON.stringify({
    schemaVersion: 2,
    mediaType: INDEX,
    manifests: children.map((child) => ({ mediaType: OCI, digest: child.digest, size: child.manifest.length })),
  });
  await expectStatus(
    await registry.send("PUT", `/v2/${repository}/manifests/${tag}`, { body: manifest, headers: { "content-type": INDEX } }),
    201,
  );
  return { digest: sha256(manifest), manifest };
}

for (const engine of ENGINES) {
  for (const [kind, makeGate] of [
    ["a gate over a table", tableGate],
    ["a fake gate", fakeGate],
  ] as const) {
    describe(`${kind}, on ${engine.name}`, { skip: engine.skip }, () => {
      let registry: TestRegistry;
      let database: Database;
      let test: TestGate;
      const log: string[] = [];
      let good: Awaited<ReturnType<typeof pushImage>>;
      let bad: Awaited<ReturnType<typeof pushImage>>;
      let mended: Awaited<ReturnType<typeof pushImage>>;
      let index: Awaited<ReturnType<typeof pushIndex>>;
      const ends: (() => unknown)[] = [];

      const basic = (name: string): string => `Basic ${Buffer.from(`${name}:${PASSWORD}`).toString("base64")}`;
      const as = (name: string, headers: Record<string, string> = {}): SendOptions => ({
        headers: { authorization: basic(name), ...headers },
      });
      const get = (path: string, options = as("reader")) => registry.send("GET", `/v2/guarded/app/${path}`, options);
      const head = (path: string, options = as("reader")) => registry.send("HEAD", `/v2/guarded/app/${path}`, options);

      async function setTrait(project: string, trait: ProjectTrait, value: unknown): Promise<void> {
        const { id } = (await database.first(findProject, { name: project }))!;
        await database.transaction((tx) => putProjectTrait(tx, id, trait, value));
      }

      /** A refusal with its reason in the body and in the headers. */
      async function assertDenied(answer: Response, what: string): Promise<void> {
        const text = await answer.text();
        assert.equal(answer.status, 403, `${what}: ${text}`);
        assert.match(answer.headers.get("warning")!, /^299 - "guarded\/app@sha256:.* may not be pulled: .*"$/, what);
        if (text === "") return;
        const { errors } = JSON.parse(text) as { errors: { code: string; message: string; detail: { reasons: string[] } }[] };
        assert.equal(errors[0]!.code, "DENIED", what);
        assert.ok(errors[0]!.message.includes(errors[0]!.detail.reasons[0]!), what);
      }

      before(async () => {
        const made = await engine.make({ after: (end: () => unknown) => void ends.push(end) } as unknown as TestContext);
        let foundation: Database;
        const ports: FeaturePorts = {
          traits: [policyTrait],
          open: ({ database: opened }) => {
            foundation = opened;
            return {
              gates: [
                {
                  trait: policyTrait,
                  verdict: (question) => test.gate.verdict(question),
                },
              ],
            };
          },
        };
        registry = await startTestRegistry(made.settings, { ports, onLog: (line) => log.push(line) });
        database = foundation!;
        test = await makeGate(database);
        for (const name of ["guarded", "free"])
          await expectStatus(
            await registry.send("POST", "/api/v1/projects", {
              body: JSON.stringify({ name }),
              headers: { "content-type": "application/json" },
            }),
            201,
          );
        for (const [name, role] of [
          ["reader", "guest"],
          ["writer", "developer"],
        ] as const) {
          await expectStatus(
            await registry.send("POST", "/api/v1/users", {
              body: JSON.stringify({ name, password: PASSWORD }),
              headers: { "content-type": "application/json" },
            }),
            201,
          );
          for (const project of ["guarded", "free"])
            await expectStatus(
              await registry.send("PUT", `/api/v1/projects/${project}/members/${name}`, {
                body: JSON.stringify({ role }),
                headers: { "content-type": "application/json" },
              }),
              200,
            );
        }
        const [shared, own] = [Buffer.alloc(30_000, "shared"), Buffer.alloc(30_000, "own")];
        good = await pushImage(registry, "guarded/app", "good", shared);
        bad = await pushImage(registry, "guarded/app", "bad", own);
        mended = await pushImage(registry, "guarded/app", "mended", shared);
        index = await pushIndex(registry, "guarded/app", "all", [good, bad]);
        await pushImage(registry, "free/app", "good", own);
        await setTrait("guarded", policyTrait, { level: "high" });
        for (const options of [as("reader"), as("writer"), {}]) {
          await until("the policy is known", async () => {
            test.asked.length = 0;
            await get("manifests/good", options);
            return test.asked.length > 0;
          });
        }
      });
      after(async () => {
        await registry.stop();
        for (const end of ends.toReversed()) await end();
      });

      it("refuses a manifest by tag and by digest, by GET and HEAD, also to who has it already", async () => {
        await test.put(bad.digest, { says: "no", text: REASON });
        for (const reference of ["bad", bad.digest]) {
          const refused = await get(`manifests/${reference}`);
          const body = (await refused.clone().json()) as { errors: { message: string }[] };
          await assertDenied(refused, reference);
          assert.ok(body.errors[0]!.message.endsWith(REASON_PLAIN), body.errors[0]!.message);
          await assertDenied(await head(`manifests/${reference}`), `HEAD ${reference}`);
          await assertDenied(await get(`manifests/${reference}`, as("reader", { "if-none-match": `"${bad.digest}"` })), "304");
          // For every account.
          await assertDenied(await get(`manifests/${reference}`, as("writer")), "writer");
          await assertDenied(await registry.send("GET", `/v2/guarded/app/manifests/${reference}`), "administrator");
        }
        await expectStatus(await get("manifests/good"), 200);
        await test.clear();
        await expectStatus(await get("manifests/bad"), 200);
      });

      it("asks with what it needs to know", async () => {
        test.asked.length = 0;
        await expectStatus(await get("manifests/good"), 200);
        await expectStatus(await get(`manifests/${good.digest}`), 200);
        const [byTag, byDigest] = test.asked;
        assert.equal(test.asked.length, 2);
        assert.deepEqual(
          [byTag!.reference, byTag!.purpose, byTag!.manifest.digest, byTag!.manifest.mediaType, byTag!.manifest.sizeBytes],
          [{ kind: "tag", tag: "good" }, "manifest", good.digest, OCI, good.manifest.length],
        );
        assert.deepEqual(byDigest!.reference, { kind: "digest", digest: good.digest });
        const { grant } = byTag!;
        assert.deepEqual(
          [grant.repository, grant.actor.name, grant.traits!.find(policyTrait)],
          ["guarded/app", "reader", { level: "high" }],
        );
        const relations = await byTag!.relations();
        assert.deepEqual([relations.subject, relations.children, relations.parents], [undefined, [], [index.digest]]);
        await expectStatus(await get("manifests/all"), 200);
        assert.deepEqual((await test.asked.at(-1)!.relations()).children.toSorted(), [good.digest, bad.digest].toSorted());
      });

      it("applies to an index and to each of its children by itself", async () => {
        await test.put(bad.digest, { says: "no", text: REASON });
        await expectStatus(await get("manifests/all"), 200);
        await assertDenied(await get(`manifests/${bad.digest}`), "the child");
        await test.clear();
        await test.put(index.digest, { says: "no", text: REASON });
        for (const reference of ["all", index.digest]) await assertDenied(await get(`manifests/${reference}`), reference);
        await expectStatus(await get(`manifests/${bad.digest}`), 200);
        await test.clear();
      });

      it("gives a blob out where one manifest that leads to it may be pulled, and else to nobody", async () => {
        await test.put(bad.digest, { says: "no", text: REASON });
        await test.put(good.digest, { says: "no", text: REASON });
        for (const blob of [bad.layerDigest, bad.configDigest, good.configDigest]) {
          await assertDenied(await get(`blobs/${blob}`), "GET");
          await assertDenied(await get(`blobs/${blob}`, as("reader", { range: "bytes=0-9" })), "a range");
          await assertDenied(await get(`blobs/${blob}`, as("writer")), "GET of who pushes");
          await assertDenied(await head(`blobs/${blob}`), "HEAD");
          // A client that pushes asks what it need not send: HEAD sends no byte of it.
          await expectStatus(await head(`blobs/${blob}`, as("writer")), 200);
        }
        // The fixed image shares the layer.
        assert.equal((await expectStatus(await get(`blobs/${good.layerDigest}`), 200)).headers.get("content-length"), "30000");
        await test.put(mended.digest, { says: "no", text: REASON });
        await assertDenied(await get(`blobs/${good.layerDigest}`), "the last that led to it");
        await test.clear();
        await expectStatus(await get(`blobs/${bad.layerDigest}`), 200);
      });

      it("gives out no blob that no manifest leads to", async () => {
        const loose = await registry.pushBlob("guarded/app", Buffer.from("loose"));
        const refused = await get(`blobs/${loose}`);
        assert.match(await refused.clone().text(), /no manifest of the repository leads to it/);
        await assertDenied(refused, "loose");
        await expectStatus(await head(`blobs/${loose}`, as("writer")), 200);
        assert.equal(await codeOf(await get(`blobs/sha256:${"0".repeat(64)}`)), "404 BLOB_UNKNOWN");
      });

      it("mounts nothing out of a repository that may not be pulled, and says why", async () => {
        await test.put(bad.digest, { says: "no", text: REASON });
        const mount = (digest: string, from = "&from=guarded/app") =>
          registry.send("POST", `/v2/free/copy/blobs/uploads/?mount=${digest}${from}`, as("writer"));
        for (const from of ["&from=guarded/app", ""]) {
          const refused = await mount(bad.configDigest, from);
          assert.equal(refused.status, 202, from);
          if (from !== "") assert.match(refused.headers.get("warning")!, /^299 - "guarded\/app@sha256:.* may not be pulled: 2 critical/);
          assert.equal((await registry.send("HEAD", `/v2/free/copy/blobs/${bad.configDigest}`)).status, 404);
        }
        await expectStatus(await mount(good.layerDigest), 201);
        await test.put(good.digest, { says: "throw", text: "the scanner is away" });
        await test.put(mended.digest, { says: "throw", text: "the scanner is away" });
        assert.equal((await mount(good.configDigest)).status, 202);
        assert.ok(log.some((line) => /could not decide whether a blob may be mounted/.test(line) && /the scanner is away/.test(line)));
        await test.clear();
        await expectStatus(await mount(bad.configDigest), 201);
      });

      it("passes warnings on, as headers that hold nothing else", async () => {
        await test.put(good.digest, { says: "warn", text: REASON });
        await test.put(mended.digest, { says: "warn", text: "x".repeat(100_000) });
        const header = `299 - "${REASON_PLAIN.replaceAll('"', String.raw`\"`)}"`;
        for (const reference of ["good", good.digest]) {
          for (const answer of [await get(`manifests/${reference}`), await head(`manifests/${reference}`)]) {
            await expectStatus(answer, 200);
            assert.equal(answer.headers.get("warning"), header);
            assert.equal(answer.headers.get("set-cookie"), null);
          }
        }
        assert.equal((await expectStatus(await get(`blobs/${good.configDigest}`), 200)).headers.get("warning"), header);
        assert.ok((await expectStatus(await get("manifests/mended"), 200)).headers.get("warning")!.length <= 4096);
        assert.equal((await get("manifests/bad")).headers.get("warning"), null);
        await test.clear();
      });

      it("fails closed, with an id that the log knows", async () => {
        for (const says of ["throw", "nonsense"] as const) {
          await test.put(good.digest, { says, text: "the scanner is away" });
          for (const [path, method] of [
            ["manifests/good", "GET"],
            ["manifests/good", "HEAD"],
            [`manifests/${good.digest}`, "GET"],
            [`blobs/${good.configDigest}`, "GET"],
            [`blobs/${good.configDigest}`, "HEAD"],
          ] as const) {
            log.length = 0;
            const answer = await registry.send(method, `/v2/guarded/app/${path}`, as("reader"));
            const text = await answer.text();
            assert.equal(answer.status, 503, `${says} ${method} ${path}`);
            if (method === "GET") assert.match(text, /could not be decided.*request id/);
            assert.doesNotMatch(text, /scanner/);
            const id = answer.headers.get("x-request-id")!;
            assert.ok(
              log.some((line) => line.includes(id) && /the scanner is away|gave no verdict/.test(line)),
              `${says} ${path}`,
            );
          }
          await test.clear();
        }
        await expectStatus(await get("manifests/good"), 200);
      });

      it("asks nothing of a project without policies, and stops when they go", async () => {
        test.asked.length = 0;
        await expectStatus(await registry.send("GET", "/v2/free/app/manifests/good", as("reader")), 200);
        await expectStatus(await registry.send("HEAD", "/v2/free/app/manifests/good", as("reader")), 200);
        assert.equal(test.asked.length, 0);
        await test.put(bad.digest, { says: "no", text: REASON });
        const denied = async (): Promise<boolean> => (await get("manifests/bad")).status === 403;
        assert.ok(await denied());
        await setTrait("guarded", policyTrait, undefined);
        await until("the policy has gone", async () => !(await denied()));
        await setTrait("guarded", policyTrait, { level: "high" });
        await until("the policy is back", denied);
        await test.clear();
      });

      it("says nothing of what is there to who may not read it", async () => {
        await test.put(bad.digest, { says: "no", text: REASON });
        assert.equal(await codeOf(await get("manifests/bad", { anonymous: true })), "401 UNAUTHORIZED");
        await test.clear();
      });

      it("closes a project that has something of a newer release, and no other", async () => {
        const newer: ProjectTrait = { name: "of-a-newer-release", read: String };
        await setTrait("free", newer, "x");
        await until("it is closed", async () => (await registry.send("GET", "/v2/free/app/manifests/good", as("reader"))).status === 503);
        assert.equal(await codeOf(await registry.send("GET", "/v2/free/app/manifests/good", as("reader"))), "503 PROJECT_NEWER");
        assert.equal((await registry.send("POST", "/v2/free/app/blobs/uploads/", as("writer"))).status, 503);
        const mount = await registry.send("POST", `/v2/guarded/app/blobs/uploads/?mount=${bad.layerDigest}&from=free/app`, as("writer"));
        assert.equal(mount.status, 202);
        await expectStatus(await get("manifests/good"), 200);
        await setTrait("free", newer, undefined);
        await until("it is open", async () => (await registry.send("GET", "/v2/free/app/manifests/good", as("reader"))).status === 200);
      });
    });
  }
}
