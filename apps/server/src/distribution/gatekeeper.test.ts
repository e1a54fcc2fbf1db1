// The gatekeeper with gates that answer at once, late, never, or contradict each other, and with blobs that very many manifests lead to.
// Not here: a registry with gates (test/flows/gate.test.ts).
import assert from "node:assert/strict";
import { it } from "node:test";
import { digestOf, type Digest } from "@berth/oci/digest";
import { RegistryError } from "@berth/oci/errors";
import { parseReference, parseRepositoryName } from "@berth/oci/reference";
import type { Grant } from "../access/caller.ts";
import { createReadTraits, type ProjectTrait } from "../access/project-traits.ts";
import { inRepository } from "../content/content.testing.ts";
import type { Holders } from "../content/holders.ts";
import type { ManifestRow } from "../content/manifests.ts";
import type { Gate, Verdict } from "./gate.ts";
import { createGatekeeper } from "./gatekeeper.ts";

const one: ProjectTrait = { name: "one", read: String };
const two: ProjectTrait = { name: "two", read: String };
const TAG = parseReference("v1");
const YES: Verdict = { allowed: true };
const no = (reason: string): Verdict => ({ allowed: false, reasons: [reason] });

function grantWith(...traits: readonly ProjectTrait[]): Grant<"pull"> {
  const stored = traits.length === 0 ? null : JSON.stringify(Object.fromEntries(traits.map(({ name }) => [name, "x"])));
  return {
    action: "pull",
    repository: parseRepositoryName("team/app"),
    projectId: 1,
    traits: createReadTraits([one, two])({ traits: stored, traits_revision: 1 }),
  } as Grant<"pull">;
}

function manifest(id: number): ManifestRow {
  return { id, digest: digestOf(Buffer.from(`${id}`)), mediaType: "application/vnd.oci.image.manifest.v1+json", sizeBytes: 10 };
}

const BLOB: Digest = digestOf(Buffer.from("blob"));

/** A repository with that many manifests leading to each blob; counts how many were read. */
function holdersOf(count: number): Holders & { looked: number } {
  const holders = {
    looked: 0,
    async *list() {
      for (let id = count; id > 0; id--) {
        holders.looked++;
        yield manifest(id);
      }
    },
    relations: async () => ({ subject: undefined, artifactType: undefined, children: [], parents: [] }),
  };
  return holders;
}

function gate(trait: ProjectTrait, verdict: (id: number) => Verdict | Promise<Verdict>): Gate {
  return { trait, verdict: (question) => verdict(question.manifest.id) };
}

const isDenied = (text: RegExp) => (error: unknown) =>
  error instanceof RegistryError && error.code === "DENIED" && text.test(error.message);
const isUndecided = (error: unknown): boolean => error instanceof RegistryError && error.status === 503;

it("an answer at hand is passed on at once, and projects without traits are not asked about", () => {
  let asked = 0;
  const gatekeeper = createGatekeeper({
    gates: [gate(one, () => (asked++, { allowed: true, warnings: ["careful"] }))],
    holders: holdersOf(1),
  });
  assert.deepEqual(gatekeeper.admitManifest(grantWith(one), TAG, manifest(1)), ["careful"]);
  assert.equal(asked, 1);
  for (const traits of [[], [two]]) {
    assert.equal(gatekeeper.admitManifest(grantWith(...traits), TAG, manifest(1)), undefined);
    assert.equal(gatekeeper.admitBlob(inRepository(grantWith(...traits), 1), BLOB, "blob"), undefined);
  }
  assert.equal(asked, 1);
});

it("a gate that does not answer in time, or fails at once or later, is no permission", async () => {
  for (const verdict of [
    () => new Promise<never>(() => undefined),
    () => Promise.reject(new Error("away")),
    (): never => {
      throw new Error("away");
    },
    () => Promise.resolve({} as Verdict),
    () => Promise.resolve(undefined as unknown as Verdict),
    () => ({ allowed: false }) as unknown as Verdict,
    () => ({ allowed: true, warnings: [1] }) as unknown as Verdict,
    // An error meant for another caller does not become the client's answer.
    () => Promise.reject(new RegistryError("MANIFEST_UNKNOWN")),
  ]) {
    const gatekeeper = createGatekeeper({ gates: [gate(one, verdict)], holders: holdersOf(1), verdictMs: 20 });
    await assert.rejects(async () => gatekeeper.admitManifest(grantWith(one), TAG, manifest(1)), isUndecided, String(verdict));
    await assert.rejects(async () => gatekeeper.admitBlob(inRepository(grantWith(one), 1), BLOB, "blob"), isUndecided, String(verdict));
  }
});

it("of several gates each has its word, and all their reasons and warnings are told", async () => {
  const gates = [gate(one, (id) => (id === 1 ? no("not scanned") : YES)), gate(two, async (id) => (id === 1 ? no("not signed") : YES))];
  const gatekeeper = createGatekeeper({ gates, holders: holdersOf(1) });
  const both = grantWith(one, two);
  await assert.rejects(async () => gatekeeper.admitManifest(both, TAG, manifest(1)), isDenied(/not scanned; not signed/));
  assert.equal(await gatekeeper.admitManifest(both, TAG, manifest(2)), undefined);
  await assert.rejects(async () => gatekeeper.admitManifest(grantWith(one), TAG, manifest(1)), isDenied(/: not scanned$/));
});

it("a blob of two manifests, each refused by another gate, is not given out", async () => {
  const refuse = (refused: number) => ({
    verdict: ({ manifest: asked }: { manifest: ManifestRow }) => (asked.id === refused ? no(`refused ${refused}`) : YES),
    // Each of them finds a manifest that it allows.
    blobVerdict: () => YES,
  });
  const gates = [
    { trait: one, ...refuse(1) },
    { trait: two, ...refuse(2) },
  ];
  const gatekeeper = createGatekeeper({ gates, holders: holdersOf(2) });
  await assert.rejects(
    async () => gatekeeper.admitBlob(inRepository(grantWith(one, two), 1), BLOB, "blob"),
    isDenied(/refused 2; refused 1/),
  );
  assert.equal(await gatekeeper.admitBlob(inRepository(grantWith(one), 1), BLOB, "blob"), undefined);
});

it("a gate answers for a blob itself where it can, without a look at what leads to it", async () => {
  const holders = holdersOf(3);
  const asked: unknown[] = [];
  const own: Gate = {
    ...gate(one, () => no("never asked")),
    blobVerdict(question) {
      asked.push(question.digest, question.purpose);
      return no("known by its digest");
    },
  };
  const gatekeeper = createGatekeeper({ gates: [own], holders });
  assert.throws(() => gatekeeper.admitBlob(inRepository(grantWith(one), 1), BLOB, "mount"), isDenied(/known by its digest/));
  assert.deepEqual(asked, [BLOB, "mount"]);
  assert.equal(holders.looked, 0);
});

it("for a blob that very many manifests lead to, so many are asked about and no more", async () => {
  const many = holdersOf(100_000);
  const refusing = createGatekeeper({ gates: [gate(one, () => no("all of them"))], holders: many });
  await assert.rejects(
    async () => refusing.admitBlob(inRepository(grantWith(one), 1), BLOB, "blob"),
    isDenied(/all of them; the newest 200 manifests/),
  );
  assert.ok(many.looked <= 201, String(many.looked));
  const first = holdersOf(100_000);
  const allowing = createGatekeeper({ gates: [gate(one, () => YES)], holders: first });
  assert.equal(await allowing.admitBlob(inRepository(grantWith(one), 1), BLOB, "blob"), undefined);
  assert.equal(first.looked, 1);
});

it("a refusal is bounded however much a gate has to say", async () => {
  const talkative = { allowed: false, reasons: Array.from({ length: 10_000 }, (_, at) => `${at}`.repeat(1000)) } as const;
  const gatekeeper = createGatekeeper({ gates: [gate(one, () => talkative)], holders: holdersOf(1) });
  await assert.rejects(
    async () => gatekeeper.admitManifest(grantWith(one), TAG, manifest(1)),
    (error: RegistryError) =>
      JSON.stringify(error.detail).length < 8000 && error.message.length < 8000 && error.headers["warning"]!.length <= 4096,
  );
});
