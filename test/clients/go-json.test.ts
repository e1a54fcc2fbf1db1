// Compares Go's JSON reader with ours: whatever manifest Berth accepts, docker, containerd, crane and skopeo can read, with the same
// result. Documents are valid ones with changed text: case of keys, escapes, duplicate keys, forms of numbers, values of other types, other
// shapes. Not here: what is refused and why (packages/oci/src/manifest.test.ts).
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { it } from "node:test";
import { promisify } from "node:util";
import fc from "fast-check";
import type { Descriptor } from "@berth/oci/descriptor";
import { RegistryError } from "@berth/oci/errors";
import { parseManifest, type ParsedManifest } from "@berth/oci/manifest";
import { DOCKER_LIST, DOCKER_MANIFEST, OCI_ARTIFACT, OCI_INDEX, OCI_MANIFEST } from "@berth/oci/media-types";
import { findInPath, skipOrThrow, ToolUnavailable } from "../tools/install.ts";
import { temporaryFolder } from "../tools/processes.ts";

const run = promisify(execFile);
const DOCUMENTS = 20_000;

interface GoReading {
  readonly error?: string;
  readonly schemaVersion: number;
  readonly mediaType: string;
  readonly artifactType: string;
  readonly config: readonly string[];
  readonly layers: readonly string[];
  readonly manifests: readonly string[];
  readonly blobs: readonly string[];
  readonly subject: readonly string[];
  readonly annotations: Readonly<Record<string, string>> | null;
  readonly old: number;
}

const digest = fc.stringMatching(/^sha256:[0-9a-f]{64}$/);
const descriptor = fc.record(
  {
    mediaType: fc.constantFrom("a/b", OCI_MANIFEST, "application/vnd.oci.image.layer.v1.tar"),
    digest,
    size: fc.nat(),
    urls: fc.constantFrom([], ["https://example.com"], null),
    annotations: fc.constantFrom({ a: "b" }, {}, null),
    artifactType: fc.constantFrom("x/y", null),
    platform: fc.constantFrom({ os: "linux", architecture: "amd64", "os.features": ["x"] }, null),
  },
  { requiredKeys: ["mediaType", "digest", "size"] },
);
const common = {
  schemaVersion: fc.constant(2),
  artifactType: fc.constantFrom("x/y", ""),
  subject: fc.oneof(descriptor, fc.constant(null)),
  annotations: fc.constantFrom({ k: "v", K: "w" }, null),
};
const descriptors = fc.array(descriptor, { maxLength: 3 });
const document = fc.oneof(
  fc.record({ ...common, config: descriptor, layers: descriptors }, { requiredKeys: ["schemaVersion", "config", "layers"] }),
  fc.record({ ...common, manifests: descriptors }, { requiredKeys: ["schemaVersion", "manifests"] }),
  fc.record({ ...common, blobs: descriptors }, { requiredKeys: ["blobs"] }),
);

const KEYS =
  "schemaVersion mediaType artifactType config layers manifests blobs subject annotations digest size urls data platform os fsLayers history signatures unknown".split(
    " ",
  );
const key = fc.constantFrom(...KEYS);

/** A key spelled so that a case-insensitive reader takes it for the same. */
function respelt(text: string, mask: number): string {
  return text
    .split("")
    .map((letter, i) => {
      if (((mask >> (i % 30)) & 1) === 0) return letter;
      if (letter === "s") return "\u017f";
      if (letter === "k") return "\u212a";
      return i % 3 === 0 ? `\\u${letter.charCodeAt(0).toString(16).padStart(4, "0")}` : letter.toUpperCase();
    })
    .join("");
}

type Change = (text: string) => string;
const nth = (text: string, pattern: RegExp, n: number, to: (found: string) => string): string => {
  const all = [...text.matchAll(pattern)];
  const found = all[n % Math.max(1, all.length)];
  return found === undefined ? text : text.slice(0, found.index) + to(found[0]) + text.slice(found.index + found[0].length);
};
const value = fc.oneof(
  fc.constantFrom(
    "null",
    "[]",
    "{}",
    "2",
    "1.0",
    "1e2",
    "-0",
    "9007199254740993",
    "9223372036854775808",
    '""',
    '"x"',
    "true",
    "[null]",
    "[[]]",
  ),
  descriptor.map((each) => JSON.stringify(each)),
  descriptors.map((each) => JSON.stringify(each)),
);
const change: fc.Arbitrary<Change> = fc.oneof(
  // A key is spelled differently.
  fc.record({ n: fc.nat(40), mask: fc.nat() }).map(
    ({ n, mask }): Change =>
      (text) =>
        nth(text, /"[A-Za-z.]+"(?=:)/g, n, (found) => `"${respelt(found.slice(1, -1), mask)}"`),
  ),
  // A key is added, known or unknown, duplicate or new, perhaps with another spelling, at either end of some object.
  fc.record({ n: fc.nat(20), name: key, mask: fc.oneof(fc.constant(0), fc.nat()), value, isLast: fc.boolean() }).map(
    ({ n, name, mask, value: json, isLast }): Change =>
      (text) =>
        isLast
          ? nth(text, /(?<=[^{])\}/g, n, () => `,"${respelt(name, mask)}":${json}}`)
          : nth(text, /\{(?=")/g, n, () => `{"${respelt(name, mask)}":${json},`),
  ),
  // A value is replaced.
  fc.record({ n: fc.nat(40), value }).map(
    ({ n, value: json }): Change =>
      (text) =>
        nth(text, /(?<=":)(?:"[^"]*"|\d+|null|\[\]|\{\})/g, n, () => json),
  ),
);
const type = fc.constantFrom(undefined, OCI_MANIFEST, OCI_INDEX, OCI_ARTIFACT, DOCKER_MANIFEST, DOCKER_LIST);
const changed = fc
  .record({ document, changes: fc.array(change, { maxLength: 2 }), type })
  .map(({ document: body, changes, type: contentType }) => ({
    text: changes.reduce((text, each) => each(text), JSON.stringify(body)),
    contentType,
  }));

function read(text: string, contentType: string | undefined): ParsedManifest | undefined {
  try {
    return parseManifest(Buffer.from(text), contentType);
  } catch (error) {
    if (!(error instanceof RegistryError)) throw error;
    return undefined;
  }
}

/** Written after a descriptor with urls. */
const ELSEWHERE = / elsewhere$/;

const names = (all: readonly (Descriptor | undefined)[]): string[] =>
  all.flatMap((each) => (each === undefined ? [] : [`${each.digest} ${each.sizeBytes} ${each.mediaType}`]));

it("go json: sees in each manifest that Berth takes what Berth sees", { timeout: 300_000 }, async (t) => {
  const go = findInPath("go") ?? ["/usr/local/go/bin/go"].find((path) => existsSync(path));
  if (go === undefined) {
    skipOrThrow(t, new ToolUnavailable("go", "it is not installed", true));
    return;
  }
  const folder = await temporaryFolder("go-json");
  t.after(() => rm(folder, { recursive: true, force: true }));
  const program = join(folder, "read-manifests");
  await run(go, ["build", "-o", program, join(import.meta.dirname, "read-manifests.go")]);
  const seed = Number(process.env["BERTH_TEST_SEED"] ?? Date.now() % 2 ** 31);
  t.diagnostic(`BERTH_TEST_SEED=${seed}`);
  const documents = fc.sample(changed, { numRuns: DOCUMENTS, seed });
  const reading = run(program, [], { maxBuffer: 256 * 1024 * 1024 });
  reading.child.stdin!.end(documents.map(({ text }) => `${Buffer.from(text).toString("base64")}\n`).join(""));
  const readings = (await reading).stdout.split("\n");
  let taken = 0;
  for (const [i, { text, contentType }] of documents.entries()) {
    const parsed = read(text, contentType);
    if (parsed === undefined) continue;
    taken++;
    const seen = JSON.parse(readings[i]!) as GoReading;
    const what = `seed ${seed}, as ${contentType}: ${text}`;
    assert.equal(seen.error, undefined, what);
    // Ours lists each digest once, and excludes blobs that need not exist here.
    const named = new Set([...names([parsed.config]), ...names(parsed.blobs)]);
    const theirs = new Map([...seen.config, ...seen.layers, ...seen.blobs].map((each) => [each.replace(ELSEWHERE, ""), each]));
    for (const each of named) assert.ok(theirs.has(each), what);
    for (const [each, whole] of theirs) {
      const isKnown: boolean = named.has(each) || parsed.blobs.some(({ digest: known }) => each.startsWith(known));
      assert.ok(isKnown || ELSEWHERE.test(whole), what);
    }
    assert.deepEqual(new Set(names(parsed.children).map(bare)), new Set(seen.manifests.map(bare)), what);
    assert.deepEqual(
      names([parsed.subject]),
      seen.subject.map((each) => each.replace(ELSEWHERE, "")),
      what,
    );
    assert.deepEqual({ ...parsed.annotations }, seen.annotations ?? {}, what);
    assert.equal(seen.old, 0, what);
    const expected = seen.artifactType || (parsed.shape === "image" ? seen.config[0]!.split(" ")[2] : undefined);
    assert.equal(parsed.artifactType, expected, what);
    if (parsed.shape === "image") assert.equal(seen.manifests.length + seen.blobs.length, 0, what);
    else if (parsed.shape === "index") assert.equal(seen.config.length + seen.layers.length + seen.blobs.length, 0, what);
    else assert.equal(seen.config.length + seen.layers.length + seen.manifests.length, 0, what);
  }
  // If nearly all were refused, nothing would have been compared.
  assert.ok(taken > DOCUMENTS / 20, `${taken} of ${DOCUMENTS} documents were taken`);
  t.diagnostic(`${taken} of ${DOCUMENTS} documents taken, each read alike`);
});

/** Digest and size: one digest may be listed under two media types. */
function bare(name: string): string {
  return name.split(" ", 2).join(" ");
}
