// The largest and most expensive input that we could construct for the data plane and the token endpoint: manifests, forms, headers,
// addresses. Each gets a short answer, and none blocks the process's other work. The measured times are printed. Not here: the control
// plane's bodies (http/api/hostile-input.test.ts), input that is not HTTP (limits.test.ts).
import assert from "node:assert/strict";
import { monitorEventLoopDelay } from "node:perf_hooks";
import { after, before, describe, it } from "node:test";
import { filled, nested } from "../../apps/server/src/http/api/hostile-input.testing.ts";
import { openRawClient, requestHead, type RawAnswer } from "./raw-client.testing.ts";
import { ADMIN_PASSWORD, expectStatus, sha256, startTestRegistry, type PushedImage, type TestRegistry } from "./registry.testing.ts";

const AUTH = { authorization: `Basic ${Buffer.from(`admin:${ADMIN_PASSWORD}`).toString("base64")}` };
const APP = "/v2/library/app";
const IMAGE = "application/vnd.oci.image.manifest.v1+json";
const INDEX = "application/vnd.oci.image.index.v1+json";
const ARTIFACT = "application/vnd.oci.artifact.manifest.v1+json";
/** `limits.manifestBytes` where it is not set. */
const MANIFEST_BYTES = 4 * 1024 * 1024;
/** The largest form, and the longest address of the data plane. */
const FORM_BYTES = 16 * 1024;
const URL_LENGTH = 8192;
/** What fits into the headers beside the others. */
const HEADER_BYTES = 31 * 1024;
/**
 * An event loop that was blocked for this long did something superlinear: twice the worst time on a busy machine would be far below it, and
 * the square of the smallest of these sizes far above.
 */
const STOOD_STILL_MS = 5_000;
/** The longest answer to a refused request. */
const WORDS_BYTES = 4096;

const digestAt = (index: number): string => `sha256:${index.toString(16).padStart(64, "0")}`;
const descriptorAt = (index: number, more = ""): string => `{"mediaType":"${IMAGE}","digest":"${digestAt(index)}","size":${index}${more}}`;
const times = (count: number, piece: (index: number) => string): string => Array.from({ length: count }, (_, index) => piece(index)).join();

/** Values that are expensive for JSON parsers, of about `size` bytes, by name. */
function worstValues(size: number): Record<string, string> {
  const few = Math.floor(size / 130);
  return {
    "many fields": filled("{", (index) => `"k${index}":0`, "}", size),
    "fields that count": filled("{", (index) => `"${index}":0`, "}", size),
    "fields that count in large steps": filled("{", (index) => `"${(index * 65_536) % 4_294_967_295}":0`, "}", Math.min(size, 900_000)),
    "fields of escapes": filled("{", (index) => `"\\u006b${index}":"\\n"`, "}", size),
    "fields with texts": filled("{", (index) => `"k${index}":"v"`, "}", size),
    "as many fields as there may be": `{${times(99_000, (index) => `"k${index}":"${"v".repeat(20)}"`)}}`,
    "as many fields of escapes as there may be": `{${times(99_000, (index) => `"\\u006b${index}":"\\n\\u0041"`)}}`,
    "as many lists as there may be": `[${times(49_000, () => "[]")}]`,
    "objects of many fields": filled("[", () => `{${times(30, (index) => `"f${index}":0`)}}`, "]", size),
    "empty objects": filled("[", () => "{}", "]", size),
    zeros: filled("[", () => "0", "]", size),
    "empty texts": filled("[", () => '""', "]", size),
    "texts of one quote": filled("[", () => '"\\""', "]", size),
    "lists as deep as they may be": filled("[", () => "[".repeat(60) + "]".repeat(60), "]", size),
    "objects as deep as they may be": filled("[", () => `${'{"a":'.repeat(60)}0${"}".repeat(60)}`, "]", size),
    "lists in each other": nested("[", "", "]", size),
    "objects in each other": nested('{"a":', "0", "}", size),
    "one field again and again": filled("{", () => '"a":0', "}", size),
    prototypes: filled("{", (index) => `"${"__proto__constructor".slice(index % 9)}${index}":{}`, "}", size),
    "a field twice at the end": `{${filled("", (index) => `"k${index}":0`, "", size - 40)},"k0":1}`,
    "a long text": `"${"a".repeat(size - 2)}"`,
    "a text of backslashes": `"${"\\\\".repeat(size / 2 - 1)}"`,
    "a text of quotes": `"${'\\"'.repeat(size / 2 - 1)}"`,
    "a text of escapes": `"${"\\u0000".repeat(Math.floor(size / 6) - 1)}"`,
    "half characters": `"${"\\ud800".repeat(Math.floor(size / 6) - 1)}"`,
    "a text of marks": `"${"\u0301".repeat(Math.floor(size / 2) - 4)}"`,
    "a long name": `{"${"n".repeat(size - 10)}":0}`,
    "a long name of escapes": `{"${"\\u006e".repeat(Math.floor(size / 6) - 2)}":0}`,
    "names that differ by case": filled("{", (index) => `"Digest${index}":0`, "}", size),
    "a long number": "1".repeat(size),
    "a long fraction": `0.${"1".repeat(size - 2)}`,
    "an exponent": `1e${"9".repeat(size - 2)}`,
    spaces: `[${" ".repeat(size - 2)}]`,
    "texts with spaces behind": filled("[", () => `""${" ".repeat(1000)}`, "]", size),
    digests: `[${times(Math.min(few, 11_000), (index) => `"${digestAt(index)}"`)}]`,
    "digests, too many": filled("[", (index) => `"${digestAt(index)}"`, "]", size),
    "digests as names": `{${times(Math.min(few, 11_000), (index) => `"${digestAt(index)}":0`)}}`,
    "the same digest again and again": filled("[", () => `"${digestAt(1)}"`, "]", size),
    "a text that never ends": `"${"a".repeat(size - 1)}`,
    "a text of backslashes that never ends": `"${"\\".repeat(size - 1)}`,
  };
}

/**
 * Manifests of about the largest size, with the media type under which they are sent. Created one by one: together they are most of a
 * gigabyte.
 */
function* worstManifests(image: PushedImage): Generator<[name: string, type: string, body: string]> {
  const { config, layers } = JSON.parse(image.manifest) as { config: unknown; layers: unknown[] };
  const [ownConfig, ownLayer] = [JSON.stringify(config), JSON.stringify(layers[0])];
  const head = (type: string): string => `{"schemaVersion":2,"mediaType":"${type}",`;
  const asImage = (more: string): string => `${head(IMAGE)}"config":${ownConfig},"layers":[${ownLayer}]${more}}`;
  const around = asImage(',"x":').length;
  for (const [name, value] of Object.entries(worstValues(MANIFEST_BYTES - around - 200))) {
    yield [`${name} in a field`, IMAGE, asImage(`,"x":${value}`)];
    if (value.startsWith("{")) yield [`${name} as annotations`, IMAGE, asImage(`,"annotations":${value}`)];
    yield [`${name} in a descriptor`, INDEX, `${head(INDEX)}"manifests":[${descriptorAt(1, `,"x":${value}`)}]}`];
  }
  const data = Buffer.alloc(3_000_000);
  const own = JSON.stringify(JSON.parse(ownLayer));
  const list = (type: string, field: string, items: string): string => `${head(type)}"config":${ownConfig},"${field}":[${items}]}`;
  yield* [
    [
      "layers that are not there",
      IMAGE,
      list(
        IMAGE,
        "layers",
        times(10_000, (index) => descriptorAt(index)),
      ),
    ],
    [
      "layers, too many",
      IMAGE,
      list(
        IMAGE,
        "layers",
        times(20_000, (index) => descriptorAt(index)),
      ),
    ],
    [
      "one layer again and again",
      IMAGE,
      list(
        IMAGE,
        "layers",
        times(10_000, () => own),
      ),
    ],
    [
      "layers that lie elsewhere",
      IMAGE,
      list(
        IMAGE,
        "layers",
        times(10_000, (index) => descriptorAt(index, ',"urls":["http://x/"]')),
      ),
    ],
    ["images that are not there", INDEX, `${head(INDEX)}"manifests":[${times(10_000, (index) => descriptorAt(index))}]}`],
    ["the same as a new index", INDEX, `${head(INDEX)}"manifests":[${times(10_000, (index) => descriptorAt(index + 1))}]}`],
    ["blobs that are not there", ARTIFACT, `{"mediaType":"${ARTIFACT}","blobs":[${times(10_000, (index) => descriptorAt(index))}]}`],
    [
      "images with many annotations",
      INDEX,
      `${head(INDEX)}"manifests":[${times(9_000, (index) => descriptorAt(index, `,"annotations":{${times(30, (n) => `"${n}":""`)}}`))}]}`,
    ],
    [
      "content in a descriptor",
      INDEX,
      `${head(INDEX)}"manifests":[{"mediaType":"a/b","digest":"${sha256(data)}","size":${data.length},"data":"${data.toString("base64")}"}]}`,
    ],
    ["content that is none", INDEX, `${head(INDEX)}"manifests":[${descriptorAt(1, `,"data":"${"A=".repeat(2_000_000)}"`)}]}`],
    ["content of line breaks", INDEX, `${head(INDEX)}"manifests":[${descriptorAt(0, `,"data":"${"\\n".repeat(2_000_000)}"`)}]}`],
    ["addresses", INDEX, `${head(INDEX)}"manifests":[${descriptorAt(1, `,"urls":[${times(600_000, () => '"x"')}]`)}]}`],
    ["a long media type", INDEX, `${head(INDEX)}"artifactType":"${"a".repeat(4_000_000)}","manifests":[]}`],
    ["zero bytes", IMAGE, "\0".repeat(MANIFEST_BYTES)],
    ["bytes that are no text", IMAGE, "\u00ff".repeat(MANIFEST_BYTES / 2)],
  ] satisfies [string, string, string][];
}

/** Texts that are expensive to split, count or match, of about `size` bytes. */
function worstTexts(size: number): string[] {
  const pieces = ["a", "a,", ", ", '"', '"a", ', "W/", "=", "a:", ".", "a-", "a/", "(", "\\", "%", "%41", "9"];
  const longer = [`"${digestAt(1)}", `, "repository:a/b:pull ", "0-0,", "a=b&", "1.2.3.4, "];
  // Only the end shows that nothing of it matches.
  return [...pieces, ...longer].map((piece) => `${piece.repeat(Math.floor(size / piece.length)).slice(0, -2)}!x`);
}

interface Seen {
  readonly what: string;
  readonly ms: number;
  readonly status: number;
}

describe("the worst input", () => {
  let registry: TestRegistry;
  let image: PushedImage;
  before(async () => {
    registry = await startTestRegistry({ "http.trustedProxies": "127.0.0.0/8", "limits.uploadBytes": "1MiB" });
    image = await registry.pushImage("library/app", "v1", 1000);
  });
  after(() => registry.stop());

  /** Sends each, one by one; prints the longest time, and how long the event loop was blocked at most. */
  async function sendAll(kind: string, requests: Iterable<[what: string, head: string, body?: string]>): Promise<void> {
    const seen: Seen[] = [];
    const delay = monitorEventLoopDelay({ resolution: 5 });
    let stoodStillMs = 0;
    let client = await openRawClient(registry.origin);
    for (const [what, head, body = ""] of requests) {
      const bytes = Buffer.from(body);
      delay.reset();
      delay.enable();
      const startedAt = performance.now();
      await client.send(head.replace("LENGTH", String(bytes.length)), bytes);
      const answer: RawAnswer = await client.answer();
      seen.push({ what, ms: performance.now() - startedAt, status: answer.status });
      // One turn of the event loop, so that the last blocking is counted.
      await new Promise((resolve) => setTimeout(resolve, 1));
      delay.disable();
      stoodStillMs = Math.max(stoodStillMs, delay.max / 1e6);
      if (answer.headers.get("connection") === "close") {
        client.destroy();
        client = await openRawClient(registry.origin);
      }
      assert.ok(answer.status < 500, `${kind}: ${what}: ${answer.status} ${answer.body.toString().slice(0, 300)}`);
      if (answer.status >= 400) {
        assert.ok(answer.body.length <= WORDS_BYTES, `${kind}: ${what}: ${answer.body.length} bytes of words`);
        assert.notEqual(answer.code, "", `${kind}: ${what}: ${answer.status}`);
      }
      assert.ok(delay.max / 1e6 < STOOD_STILL_MS, `${kind}: ${what}: the event loop stood still for ${Math.ceil(delay.max / 1e6)} ms`);
    }
    client.destroy();
    const worst = seen.toSorted((a, b) => b.ms - a.ms).slice(0, 5);
    console.log(`# ${kind}: ${seen.length} sent; the event loop stood still for ${Math.ceil(stoodStillMs)} ms at the most`);
    for (const { what, ms, status } of worst) console.log(`#   ${Math.ceil(ms)} ms, ${status}: ${what.slice(0, 100)}`);
    await expectStatus(await registry.send("GET", `${APP}/manifests/v1`), 200);
  }

  it("as a manifest", async () => {
    await sendAll(
      "manifests",
      worstManifests(image).map(([name, type, body]): [string, string, string] => {
        assert.ok(Buffer.byteLength(body) <= MANIFEST_BYTES, `${name}: ${Buffer.byteLength(body)}`);
        return [name, requestHead("PUT", `${APP}/manifests/worst`, { ...AUTH, "content-type": type, "content-length": "LENGTH" }), body];
      }),
    );
  });

  it("as a form for a token, and as a token's address", async () => {
    const forms = [
      ...worstTexts(FORM_BYTES - 10),
      ...["scope=", "scope=repository:", "scope=repository:a/b:", "username=", "password=", "username=a&password=", "grant_type="].flatMap(
        (name) => worstTexts(FORM_BYTES - 40).map((text) => `${name}${text}`),
      ),
      "scope=a:b:c&".repeat(1300),
      filled("", (index) => `&scope=repository:a/${index}:pull,push`, "", FORM_BYTES).replaceAll(",&", "&"),
      `scope=${filled("", (index) => `repository:a/${index}:*`, "", FORM_BYTES - 10).replaceAll(",", " ")}`,
    ];
    const type = "application/x-www-form-urlencoded";
    await sendAll("token forms", [
      ...forms.map((form): [string, string, string] => [
        form.slice(0, 60),
        requestHead("POST", "/token", { ...AUTH, "content-type": type, "content-length": "LENGTH" }),
        form,
      ]),
      ...forms.map((form): [string, string] => [
        `GET ${form.slice(0, 60)}`,
        requestHead("GET", `/token?${form.replaceAll(/[\s\\"]/g, "+")}`, AUTH),
      ]),
    ]);
  });

  it("as headers", async () => {
    const location = (await expectStatus(await registry.send("POST", `${APP}/blobs/uploads/`), 202)).headers.get("location")!;
    const blob = `${APP}/blobs/${image.layerDigest}`;
    const requests: [string, string, string?][] = [];
    const add = (method: string, path: string, name: string, prefixes: readonly string[]): void => {
      for (const prefix of prefixes) {
        for (const text of worstTexts(HEADER_BYTES - prefix.length)) {
          const headers = { ...(name === "authorization" ? {} : AUTH), [name]: `${prefix}${text}`, "content-length": 0 };
          requests.push([`${method} ${path} ${name}: ${prefix}${text.slice(0, 40)}`, requestHead(method, path, headers)]);
        }
      }
    };
    for (const path of ["/v2/", `${APP}/manifests/v1`, "/token", "/api/v1/projects"])
      add("GET", path, "authorization", ["Basic ", "Bearer ", "Bearer a.b.", "Negotiate ", ""]);
    add("GET", `${APP}/manifests/v1`, "accept", [""]);
    for (const path of [`${APP}/manifests/v1`, blob]) add("GET", path, "if-none-match", ["", "W/", '"']);
    for (const name of ["if-match", "if-none-match", "content-type"]) add("PUT", `${APP}/manifests/v1`, name, [""]);
    add("GET", blob, "range", ["bytes=", "bytes=0-", "bytes=-", ""]);
    requests.push(
      [
        "many ranges",
        requestHead("GET", blob, { ...AUTH, range: filled("bytes=", (index) => `${index % 900}-${index % 900}`, "", HEADER_BYTES) }),
      ],
      [
        "as many ranges as there may be",
        requestHead("GET", blob, { ...AUTH, range: `bytes=${times(1000, (index) => `${index}-${index}`)}` }),
      ],
      [
        "many entity tags",
        requestHead("GET", blob, { ...AUTH, "if-none-match": filled("", (index) => `"${digestAt(index)}"`, "", HEADER_BYTES) }),
      ],
      [
        "many headers",
        requestHead("GET", blob, { ...AUTH, ...Object.fromEntries(Array.from({ length: 3500 }, (_, index) => [`x${index}`, ""])) }),
      ],
      ["one header again and again", requestHead("GET", blob, AUTH).replace(/\r\n$/, `${"accept:a\r\n".repeat(3000)}\r\n`)],
      ["cookies again and again", requestHead("GET", blob, AUTH).replace(/\r\n$/, `${"cookie:a\r\n".repeat(3000)}\r\n`)],
    );
    add("PATCH", location, "content-range", ["", "bytes ", "0-", "bytes 0-0/"]);
    for (const name of ["x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "forwarded", "traceparent", "tracestate"])
      add("GET", "/v2/", name, [""]);
    for (const name of ["origin", "sec-fetch-site"]) add("POST", `${APP}/blobs/uploads/`, name, ["", "http://"]);
    for (const name of ["host", "user-agent", "x-request-id", "connection", "referer"]) add("GET", "/v2/", name, [""]);
    await sendAll("headers", requests);
  });

  it("as an address", async () => {
    const requests: [string, string][] = [];
    const add = (method: string, before: string, behind = ""): void => {
      for (const text of worstTexts(URL_LENGTH - before.length - behind.length)) {
        const target = `${before}${text.replaceAll(/[\s"\\]/g, "+")}${behind}`;
        requests.push([`${method} ${target.slice(0, 80)}`, requestHead(method, target, { ...AUTH, "content-length": 0 })]);
      }
    };
    for (const query of ["", "n=", "n=1&last=", "last="]) {
      add("GET", `/v2/_catalog?${query}`);
      add("GET", `${APP}/tags/list?${query}`);
    }
    for (const query of ["", "artifactType=", "n=1&last="]) add("GET", `${APP}/referrers/${image.digest}?${query}`);
    for (const query of ["", "mount=", "digest=", "digest-algorithm=", `mount=${image.layerDigest}&from=`])
      add("POST", `${APP}/blobs/uploads/?${query}`);
    for (const query of ["", "tag=", "tag=a&tag="]) add("PUT", `${APP}/manifests/${image.digest}?${query}`);
    requests.push([
      "many tags",
      requestHead("PUT", `${APP}/manifests/${image.digest}?${"tag=a&".repeat(1300)}`, { ...AUTH, "content-length": 0 }),
    ]);
    add("PUT", `${APP}/blobs/uploads/x?digest=`);
    for (const method of ["GET", "PUT"]) {
      for (const [start, end] of [
        ["/v2/", "/manifests/v1"],
        ["/v2/", "/tags/list"],
        [`${APP}/manifests/`, ""],
        [`${APP}/blobs/`, ""],
        [`${APP}/blobs/uploads/`, ""],
        ["/v2/", ""],
        ["/api/v1/", ""],
        ["/api/v1/projects?", ""],
        ["/api/v1/projects/", ""],
        ["/", ""],
      ] as const)
        add(method, start, end);
    }
    for (const word of ["/manifests/", "/blobs/uploads/", "/tags/list", "/referrers/"]) {
      for (const before of ["/v2/a", "/v2"])
        requests.push([`GET ${word}`, requestHead("GET", `${before}${word.repeat(Math.floor(8000 / word.length))}`, AUTH)]);
    }
    await sendAll("addresses", requests);
  });
});
