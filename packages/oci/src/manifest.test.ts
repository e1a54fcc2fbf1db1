// Manifests: any bytes give a manifest or MANIFEST_INVALID; everything that a valid one names is returned; text that two clients could read
// differently is refused.
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { digestOf } from "./digest.ts";
import { RegistryError } from "./errors.ts";
import { MAX_JSON_VALUES } from "./manifest-text.ts";
import { MAX_DESCRIPTORS, parseManifest, type ParsedManifest } from "./manifest.ts";
import { DOCKER_LIST, DOCKER_MANIFEST, OCI_ARTIFACT, OCI_INDEX, OCI_MANIFEST } from "./media-types.ts";

const TYPES = [OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_LIST, OCI_ARTIFACT];
const CONFIG_TYPE = "application/vnd.oci.image.config.v1+json";
const digest = fc.oneof(fc.stringMatching(/^sha256:[0-9a-f]{64}$/), fc.stringMatching(/^sha512:[0-9a-f]{128}$/));
const descriptor = fc.record({ mediaType: fc.constantFrom(CONFIG_TYPE, OCI_MANIFEST, "a/b"), digest, size: fc.maxSafeNat() });
const image = fc.record(
  {
    schemaVersion: fc.constant(2),
    mediaType: fc.constant(OCI_MANIFEST),
    artifactType: fc.constantFrom("application/example", ""),
    config: descriptor,
    layers: fc.array(descriptor, { maxLength: 5 }),
    subject: descriptor,
    annotations: fc.dictionary(fc.string(), fc.string()),
  },
  { requiredKeys: ["schemaVersion", "config", "layers"] },
);
const index = fc.record(
  {
    schemaVersion: fc.constant(2),
    mediaType: fc.constant(OCI_INDEX),
    manifests: fc.array(descriptor, { maxLength: 5 }),
    subject: descriptor,
  },
  { requiredKeys: ["schemaVersion", "manifests"] },
);
const contentType = fc.constantFrom(undefined, ...TYPES, "text/plain", "__proto__");

function read(body: unknown, type?: string): ParsedManifest | "MANIFEST_INVALID" {
  const bytes = body instanceof Uint8Array ? body : Buffer.from(typeof body === "string" ? body : JSON.stringify(body));
  try {
    return parseManifest(bytes, type);
  } catch (error) {
    if (!(error instanceof RegistryError)) throw error;
    assert.deepEqual([error.code, error.status], ["MANIFEST_INVALID", 400]);
    // Message and detail are sent to the client: they contain at most a line of its own text.
    assert.ok(error.message.length < 300 && JSON.stringify(error.detail ?? null).length < 2000);
    return "MANIFEST_INVALID";
  }
}

/** Properties of every accepted manifest. */
function checkTaken(parsed: ParsedManifest): void {
  const all = [...parsed.blobs, ...parsed.children, ...(parsed.subject === undefined ? [] : [parsed.subject])];
  for (const each of all) {
    assert.match(each.digest, /^(sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})$/);
    assert.ok(Number.isSafeInteger(each.sizeBytes) && each.sizeBytes >= 0);
    assert.match(each.mediaType, /^[\x20-\x7e]{1,255}$/);
  }
  assert.equal(new Set(parsed.blobs.map((each) => each.digest)).size, parsed.blobs.length);
  assert.equal(new Set(parsed.children.map((each) => each.digest)).size, parsed.children.length);
  assert.ok(TYPES.includes(parsed.mediaType));
  assert.ok(parsed.artifactType === undefined || /^[\x20-\x7e]{1,255}$/.test(parsed.artifactType));
  for (const text of Object.values(parsed.annotations)) assert.equal(typeof text, "string");
  if (parsed.shape === "index") assert.deepEqual([parsed.blobs, parsed.config], [[], undefined]);
  else assert.deepEqual(parsed.children, []);
}

describe("a right manifest", () => {
  it("of an image: config, layers, subject, annotations, artifact type", () => {
    fc.assert(
      fc.property(image, fc.constantFrom(undefined, OCI_MANIFEST), (body, type) => {
        const parsed = read(body, type);
        assert.ok(parsed !== "MANIFEST_INVALID");
        checkTaken(parsed);
        assert.equal(parsed.mediaType, OCI_MANIFEST);
        assert.deepEqual(
          new Set(parsed.blobs.map((each) => each.digest)),
          new Set([body.config, ...body.layers].map((each) => each.digest)),
        );
        assert.equal(parsed.subject?.digest, body.subject?.digest);
        assert.deepEqual({ ...parsed.annotations }, { ...body.annotations });
        assert.equal(parsed.artifactType, body.artifactType || body.config.mediaType);
      }),
    );
  });

  it("of an index: children", () => {
    fc.assert(
      fc.property(index, fc.constantFrom(undefined, OCI_INDEX), (body, type) => {
        const parsed = read(body, type);
        assert.ok(parsed !== "MANIFEST_INVALID");
        checkTaken(parsed);
        assert.deepEqual(new Set(parsed.children.map((each) => each.digest)), new Set(body.manifests.map((each) => each.digest)));
      }),
    );
  });
});

describe("anything else", () => {
  it("of JSON gives a manifest or MANIFEST_INVALID", () => {
    const fields = fc.dictionary(
      fc.constantFrom(
        "schemaVersion",
        "mediaType",
        "config",
        "layers",
        "manifests",
        "blobs",
        "subject",
        "annotations",
        "artifactType",
        "fsLayers",
      ),
      fc.oneof(
        fc.jsonValue({ maxDepth: 2 }),
        fc.constant(2),
        fc.constantFrom(...TYPES),
        descriptor,
        fc.array(descriptor, { maxLength: 3 }),
      ),
    );
    fc.assert(
      fc.property(fc.oneof(fc.jsonValue(), fields), contentType, (body, type) => {
        const parsed = read(body, type);
        if (parsed !== "MANIFEST_INVALID") checkTaken(parsed);
      }),
      { numRuns: 3000 },
    );
  });

  it("of bytes gives a manifest or MANIFEST_INVALID", () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.uint8Array(),
          fc.string({ unit: "binary" }).map((text) => new Uint8Array(Buffer.from(text))),
        ),
        contentType,
        (bytes, type) => {
          const parsed = read(bytes, type);
          if (parsed !== "MANIFEST_INVALID") checkTaken(parsed);
        },
      ),
      { numRuns: 2000 },
    );
  });

  it("of a right one with some bytes or a field changed gives a manifest or MANIFEST_INVALID", () => {
    const change = fc.record({ at: fc.double({ min: 0, max: 1, noNaN: true }), length: fc.nat(4), by: fc.uint8Array({ maxLength: 4 }) });
    fc.assert(
      fc.property(fc.oneof(image, index), fc.array(change, { minLength: 1, maxLength: 3 }), contentType, (body, changes, type) => {
        let bytes = Buffer.from(JSON.stringify(body));
        for (const { at, length, by } of changes) {
          const start = Math.floor(at * bytes.length);
          bytes = Buffer.concat([bytes.subarray(0, start), by, bytes.subarray(start + length)]);
        }
        const parsed = read(bytes, type);
        if (parsed !== "MANIFEST_INVALID") checkTaken(parsed);
      }),
      { numRuns: 3000 },
    );
    fc.assert(
      fc.property(
        image,
        fc.constantFrom("schemaVersion", "config", "layers", "subject", "artifactType"),
        fc.jsonValue({ maxDepth: 1 }),
        (body, field, value) => {
          const parsed = read({ ...body, [field]: value });
          if (parsed !== "MANIFEST_INVALID") checkTaken(parsed);
        },
      ),
      { numRuns: 2000 },
    );
  });
});

describe("limits and traps", () => {
  const some = { mediaType: "a/b", digest: `sha256:${"a".repeat(64)}`, size: 1 };
  const good = { schemaVersion: 2, mediaType: OCI_MANIFEST, config: some, layers: [some] };
  const isTaken = (body: unknown, type?: string): boolean => read(body, type) !== "MANIFEST_INVALID";

  it("nesting: 64 deep is read, deeper is not, nor is a million of brackets", () => {
    const nested = (depth: number): string =>
      `{"schemaVersion":2,"mediaType":"${OCI_INDEX}","manifests":[],"x":${"[".repeat(depth)}${"]".repeat(depth)}}`;
    assert.ok(isTaken(nested(63)));
    assert.ok(!isTaken(nested(64)));
    assert.ok(!isTaken("[".repeat(1_000_000)));
    assert.ok(!isTaken(`{"a":`.repeat(500_000)));
    // Brackets in strings do not count, whatever is escaped before them.
    assert.ok(isTaken({ ...good, annotations: { a: `\\"${"[".repeat(100)}`, "\\": "[".repeat(100) } }));
  });

  it("values: 100,000 are read, more are not, and the widest list of descriptors has fewer", () => {
    const withMore = (x: string): string => JSON.stringify(good).replace(/\}$/, `,"x":${x}}`);
    // Each value follows a bracket or a comma.
    const own = [...JSON.stringify(good).matchAll(/[,{[]/g)].length + 1;
    const left = MAX_JSON_VALUES - own - 1;
    for (const [open, piece, close] of [
      ["[", (index: number): string => String(index), "]"],
      ["{", (index: number): string => `"${index}":"x,y[{"`, "}"],
    ] as const) {
      const filled = (count: number): string => `${open}${Array.from({ length: count }, (_, index) => piece(index)).join()}${close}`;
      assert.ok(isTaken(withMore(filled(left))));
      assert.ok(!isTaken(withMore(filled(left + 1))));
    }
    assert.ok(!isTaken(withMore(`[${"[],".repeat(MAX_JSON_VALUES / 2)}0]`)));
    const annotated = { ...some, annotations: { a: "", b: "", c: "", d: "" } };
    assert.ok(isTaken({ ...good, layers: Array.from({ length: MAX_DESCRIPTORS }, () => annotated) }));
  });

  it("keys that are there twice are refused wherever they are: readers differ in which one counts", () => {
    const text = JSON.stringify({ ...good, mediaType: OCI_MANIFEST, subject: some, annotations: { a: "b" }, x: { y: [{ z: 1 }] } });
    assert.ok(isTaken(text));
    const twice: readonly (readonly [string, string])[] = [
      ["layers", "[]"],
      ["digest", `"${some.digest}"`],
      ["size", "1"],
      ["a", '"c"'],
      ["z", "1"],
      ["\\u0061", '"c"'],
    ];
    for (const [key, value] of twice) {
      const at = text.indexOf(`"${JSON.parse(`"${key}"`)}":`);
      assert.ok(at > 0);
      assert.ok(!isTaken(`${text.slice(0, at)}"${key}":${value},${text.slice(at)}`), key);
    }
    // The same key in another object, or an equal text, is no duplicate.
    assert.ok(isTaken({ ...good, annotations: { layers: "layers", digest: "digest", '"layers":[]': '"layers":[]' }, x: { layers: 1 } }));
  });

  it("keys that equal a known one but for case are refused where they are known, and nowhere else", () => {
    const spellings = (key: string): string[] => [
      key.toUpperCase(),
      key[0]!.toUpperCase() + key.slice(1),
      key.replace("s", "\u017f"),
      key.replace("k", "\u212a"),
    ];
    const root = ["schemaVersion", "mediaType", "artifactType", "config", "layers", "manifests", "blobs", "subject", "annotations"];
    for (const key of [...root, "fsLayers", "history", "signatures"]) {
      for (const other of spellings(key).filter((each) => each !== key)) {
        assert.ok(!isTaken({ ...good, [other]: null }), other);
        assert.ok(!isTaken(`{"${other.replace("l", "\\u006c")}":null,${JSON.stringify(good).slice(1)}`), other);
        assert.ok(isTaken({ ...good, x: { [other]: null }, annotations: { [other]: "", [key]: "" } }), other);
      }
    }
    for (const key of ["mediaType", "digest", "size", "urls", "annotations", "data", "artifactType", "platform"]) {
      for (const other of spellings(key).filter((each) => each !== key)) {
        const twisted = { ...some, [other]: null };
        for (const body of [
          { ...good, config: twisted },
          { ...good, layers: [some, twisted] },
          { ...good, subject: twisted },
        ]) {
          assert.ok(!isTaken(body), other);
        }
        assert.ok(!isTaken({ schemaVersion: 2, mediaType: OCI_INDEX, manifests: [{ ...some, platform: {} }, twisted] }), other);
        assert.ok(!isTaken({ mediaType: OCI_ARTIFACT, blobs: [twisted] }), other);
      }
    }
    assert.ok(!isTaken({ ...good, config: { ...some, platform: { OS: "linux" } } }));
    // Keys that only look alike.
    assert.ok(isTaken({ ...good, "layer\u0455": [], layer: 1, layerss: 1, "l\u0131ayers": 1 }));
  });

  it("numbers in a form that Go reads into no integer are refused", () => {
    const text = (size: string, version = "2"): string =>
      JSON.stringify({ ...good, layers: [{ ...some, digest: `sha256:${"d".repeat(64)}`, size: 77 }] })
        .replace("77", size)
        .replace(`"schemaVersion":2`, `"schemaVersion": ${version}`);
    for (const size of ["1", " 1", "0", "9007199254740991"]) assert.ok(isTaken(text(size)), size);
    for (const size of ["1.0", "1e3", "1E0", "-0", "-1", "1.5", "9007199254740993", "9223372036854775808", "1e999", "true", "null"]) {
      assert.ok(!isTaken(text(size)), size);
    }
    for (const version of ["2.0", "2e0", "20e-1"]) assert.ok(!isTaken(text("1", version)), version);
    // In unknown fields, no reader parses the number.
    assert.ok(isTaken(`{"x":{"size":1.0,"schemaVersion":[2e0,-0]},${JSON.stringify(good).slice(1)}`));
  });

  it("content in a descriptor is what the descriptor names", () => {
    const bytes = Buffer.from("content");
    const whole = { mediaType: "a/b", digest: digestOf(bytes), size: bytes.length };
    const withData = (data: unknown): boolean => isTaken({ ...good, layers: [{ ...whole, data }] });
    assert.ok(withData(bytes.toString("base64")));
    assert.ok(withData(null));
    for (const data of [
      "",
      "!",
      bytes.toString("base64").slice(1),
      Buffer.from("c0ntent").toString("base64"),
      Buffer.from("contents").toString("base64"),
      1,
    ]) {
      assert.ok(!withData(data), String(data));
    }
  });

  it("keys of every object's prototype are nothing special", () => {
    const parsed = read(
      `{"schemaVersion":2,"mediaType":"${OCI_INDEX}","manifests":[],"annotations":{"__proto__":"x","constructor":"y"},"__proto__":{"layers":[]}}`,
    );
    assert.ok(parsed !== "MANIFEST_INVALID");
    assert.deepEqual(Object.keys(parsed.annotations), ["__proto__", "constructor"]);
    assert.equal(JSON.stringify(parsed.annotations), '{"__proto__":"x","constructor":"y"}');
    assert.equal(({} as { layers?: unknown }).layers, undefined);
    assert.ok(!isTaken(`{"__proto__":${JSON.stringify(good)}}`));
    assert.ok(!isTaken({ ...good, mediaType: "toString" }));
  });

  it("descriptors: so many and no more", () => {
    assert.ok(isTaken({ ...good, layers: Array.from({ length: MAX_DESCRIPTORS }, () => some) }));
    assert.ok(!isTaken({ ...good, layers: Array.from({ length: MAX_DESCRIPTORS + 1 }, () => some) }));
  });

  it("foreign layers need not be here; a config with urls must", () => {
    const foreign = { ...some, digest: `sha256:${"b".repeat(64)}`, mediaType: "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip" };
    const elsewhere = { ...some, digest: `sha256:${"c".repeat(64)}`, urls: ["https://example.com/x"] };
    const parsed = read({
      ...good,
      config: { ...some, urls: ["https://example.com"] },
      layers: [foreign, elsewhere, { ...some, urls: [] }],
    });
    assert.ok(parsed !== "MANIFEST_INVALID");
    assert.deepEqual(
      parsed.blobs.map((each) => each.digest),
      [some.digest],
    );
  });

  const refused: [string, unknown, string?][] = [
    ["a byte order mark", `\ufeff${JSON.stringify(good)}`],
    ["bytes that are no UTF-8", Buffer.concat([Buffer.from('{"a":"'), Buffer.from([0xff]), Buffer.from('"}')])],
    ["UTF-16", Buffer.from(JSON.stringify(good), "utf16le")],
    ["a comment", `/**/${JSON.stringify(good)}`],
    ["two values", `${JSON.stringify(good)}{}`],
    ["nothing", ""],
    ["null", "null"],
    ["schemaVersion as text", { ...good, schemaVersion: "2" }],
    ["another Content-Type", good, OCI_INDEX],
    ["Content-Type of something else", { ...good, mediaType: undefined }, "application/vnd.oci.image.layer.v1.tar"],
    ["an image with manifests", { ...good, manifests: [] }],
    ["an image with manifests null", { ...good, manifests: null }],
    ["an index with layers", { schemaVersion: 2, mediaType: OCI_INDEX, manifests: [], layers: [] }],
    ["an index with config", { schemaVersion: 2, mediaType: OCI_INDEX, manifests: [], config: some }],
    ["a Docker image with fsLayers", { ...good, mediaType: DOCKER_MANIFEST, fsLayers: [] }],
    ["an image with blobs", { ...good, blobs: [] }],
    ["an image with history", { ...good, history: [] }],
    ["an image with signatures", { ...good, signatures: null }],
    ["an index with blobs", { schemaVersion: 2, mediaType: OCI_INDEX, manifests: [], blobs: [] }],
    ["an index with fsLayers", { schemaVersion: 2, mediaType: DOCKER_LIST, manifests: [], fsLayers: [] }],
    ["an artifact with layers", { mediaType: OCI_ARTIFACT, blobs: [some], layers: [] }],
    ["an artifact with config", { mediaType: OCI_ARTIFACT, blobs: [some], config: some }],
    ["an artifact with manifests", { mediaType: OCI_ARTIFACT, blobs: [some], manifests: [] }],
    ["an artifact of another schemaVersion", { schemaVersion: 1, mediaType: OCI_ARTIFACT, blobs: [some] }],
    ["a digest of two sizes", { ...good, layers: [some, { ...some, size: 2 }] }],
    ["an index entry of two sizes", { schemaVersion: 2, mediaType: OCI_INDEX, manifests: [some, { ...some, size: 2 }] }],
    ["a layer's annotation that is no text", { ...good, layers: [{ ...some, annotations: { a: 1 } }] }],
    ["urls as a text", { ...good, layers: [{ ...some, urls: "https://example.com" }] }],
    ["urls that are no texts", { ...good, layers: [{ ...some, urls: [1] }] }],
    ["a platform as a text", { schemaVersion: 2, mediaType: OCI_INDEX, manifests: [{ ...some, platform: "linux" }] }],
    ["a platform's os as a list", { schemaVersion: 2, mediaType: OCI_INDEX, manifests: [{ ...some, platform: { os: ["linux"] } }] }],
    ["a platform's features as a text", { schemaVersion: 2, mediaType: OCI_INDEX, manifests: [{ ...some, platform: { features: "x" } }] }],
    ["a descriptor's artifactType as a list", { ...good, layers: [{ ...some, artifactType: [] }] }],
    ["no config", { ...good, config: undefined }],
    ["no layers", { ...good, layers: undefined }],
    ["layers as an object", { ...good, layers: { 0: some, length: 1 } }],
    ["a layer that is a list", { ...good, layers: [[some]] }],
    ["a size that is no number", { ...good, layers: [{ ...some, size: "1" }] }],
    ["a size below zero", { ...good, layers: [{ ...some, size: -1 }] }],
    ["a size that is no whole number", { ...good, layers: [{ ...some, size: 1.5 }] }],
    ["a size beyond whole numbers", { ...good, layers: [{ ...some, size: 2 ** 53 }] }],
    ["a digest in capitals", { ...good, layers: [{ ...some, digest: some.digest.toUpperCase() }] }],
    ["a digest of another algorithm", { ...good, layers: [{ ...some, digest: `md5:${"a".repeat(32)}` }] }],
    ["an annotation that is no string", { ...good, annotations: { a: 1 } }],
    ["annotations in a list", { ...good, annotations: ["a"] }],
    ["a subject that is a text", { ...good, subject: some.digest }],
    ["artifactType as a list", { ...good, artifactType: ["a/b"] }],
    // A database's text cannot hold NUL, and its index no long text: such a push would have been answered with 500.
    ["artifactType with a NUL", { ...good, artifactType: "a/b\0" }],
    ["artifactType with a lone surrogate", { ...good, artifactType: "a/\ud800" }],
    ["artifactType of 3000 characters", { ...good, artifactType: `a/${"b".repeat(3000)}` }],
    ["a config's media type of 3000 characters", { ...good, config: { ...some, mediaType: `a/${"b".repeat(3000)}` } }],
    ["a media type with a line break", { ...good, layers: [{ ...some, mediaType: "a/b\r\nx: y" }] }],
  ];
  for (const [what, body, type] of refused) it(`${what} is refused`, () => assert.equal(read(body, type), "MANIFEST_INVALID"));

  it("what is wrong in the eyes of a stricter reader, but common, is taken", () => {
    assert.ok(isTaken({ ...good, mediaType: undefined }));
    assert.ok(isTaken({ ...good, subject: null, annotations: null, artifactType: null }));
    assert.ok(isTaken({ ...good, layers: null }));
    assert.ok(isTaken({ schemaVersion: 2, manifests: null, mediaType: OCI_INDEX }));
    assert.ok(isTaken({ mediaType: OCI_ARTIFACT, blobs: [some] }));
    assert.ok(isTaken({ ...good, layers: [{ ...some, urls: null, annotations: null, data: null, platform: null, artifactType: null }] }));
  });
});
