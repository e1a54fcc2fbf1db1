// Requests below /v2: every method and address gives a request or an error of the spec; every request's own address gives it back.
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { ERROR_ROWS, RegistryError } from "@berth/oci/errors";
import fc from "fast-check";
import type { ProjectName } from "@berth/oci/reference";
import { MAX_PAGE_SIZE, MAX_TAGS_PER_PUSH, MAX_URL_LENGTH, parseRequest, type V2Request } from "./parse-request.ts";

const METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "get", ""];
const WORDS = ["manifests", "blobs", "tags", "referrers", "uploads", "list", "_catalog", "v2"];
const DEFAULT_PROJECT = "library" as ProjectName;
const SHA256 = `sha256:${"0123456789abcdef".repeat(4)}`;
const SHA512 = `sha512:${"0123456789abcdef".repeat(8)}`;

/** The request, or the code of its refusal; any other error than a `RegistryError` is a defect. */
function outcome(method: string, url: string): V2Request | string {
  try {
    return parseRequest(method, url, DEFAULT_PROJECT);
  } catch (error) {
    if (!(error instanceof RegistryError)) throw error;
    assert.ok(error.code in ERROR_ROWS && error.status >= 400 && error.status < 500, error.code);
    assert.equal(error.code === "UNSUPPORTED", "allow" in error.headers, url);
    assert.ok(JSON.stringify(error.detail ?? null).length < 3000, "an answer does not repeat a long address");
    return error.code;
  }
}

// The hard cases are names whose segments are the words that end a name.
const segment = fc.oneof(
  fc.constantFrom("manifests", "blobs", "tags", "referrers", "uploads", "list", "v2"),
  fc.stringMatching(/^[a-z0-9]{1,5}([._-][a-z0-9]{1,3})?$/),
);
const repository = fc.array(segment, { minLength: 2, maxLength: 5 }).map((parts) => parts.join("/"));
// A name of one segment is a repository of the default project, and answers use the same spelling.
const named = fc.oneof(
  repository.map((text) => ({ repository: text, spelling: text })),
  segment.map((text) => ({ repository: `library/${text}`, spelling: text })),
);
const inRepository = <T>(fields: { [K in keyof T]: fc.Arbitrary<T[K]> }) =>
  fc.tuple(named, fc.record(fields)).map(([name, rest]) => ({ ...name, ...rest }));
const digest = fc.constantFrom(SHA256, SHA512);
const tag = fc.oneof(fc.constantFrom(...WORDS), fc.stringMatching(/^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,20}$/));
const reference = fc.oneof(
  tag.map((text) => ({ kind: "tag", tag: text })),
  digest.map((text) => ({ kind: "digest", digest: text })),
);
const page = fc.record({
  limit: fc.option(fc.nat(MAX_PAGE_SIZE), { nil: undefined }),
  last: fc.string({ unit: "grapheme-composite", maxLength: 10 }).filter((text) => !/\p{Cc}/u.test(text)),
});
const algorithm = fc.constantFrom("sha256", "sha512");
const id = fc.stringMatching(/^[A-Za-z0-9_=-]{1,40}$/);

const request = fc.oneof(
  fc.record({ kind: fc.constant("ping") }),
  fc.record({ kind: fc.constant("catalog"), page }),
  inRepository({ kind: fc.constant("tags"), page }),
  inRepository({ kind: fc.constant("manifest-get"), head: fc.boolean(), reference }),
  inRepository({ kind: fc.constant("manifest-put"), reference, tags: fc.array(tag, { maxLength: 3 }), algorithm }),
  inRepository({ kind: fc.constant("manifest-delete"), reference }),
  inRepository({ kind: fc.constant("blob-get"), head: fc.boolean(), digest }),
  inRepository({ kind: fc.constant("blob-delete"), digest }),
  inRepository({ kind: fc.constant("upload-begin"), algorithm, whole: fc.option(digest, { nil: undefined }) }),
  inRepository({ kind: fc.constant("mount"), digest, from: fc.option(named, { nil: undefined }), algorithm }),
  inRepository({ kind: fc.constantFrom("upload-get", "upload-append", "upload-cancel"), id }),
  inRepository({ kind: fc.constant("upload-finish"), id, digest }),
  inRepository({
    kind: fc.constant("referrers"),
    subject: digest,
    artifactType: fc.option(fc.constant("a/b+json; x=é&y"), { nil: undefined }),
    page,
  }),
) as fc.Arbitrary<V2Request>;

/** The address that a client would write: the inverse of the tested function. */
function addressOf(each: V2Request): [method: string, url: string] {
  const query = (fields: Record<string, string | number | undefined>): string => {
    const pairs = Object.entries(fields).filter(([, value]) => value !== undefined && value !== "");
    return pairs.length === 0 ? "" : `?${new URLSearchParams(pairs.map(([name, value]) => [name, String(value)])).toString()}`;
  };
  const paged = (from: { page: { limit: number | undefined; last: string } }): Record<string, string | number | undefined> => ({
    n: from.page.limit,
    last: from.page.last,
  });
  const named = (of: string): string => (of === "sha256" ? "" : of);
  const at = (ref: { kind: string; tag?: string; digest?: string }): string => (ref.tag ?? ref.digest)!;
  switch (each.kind) {
    case "ping":
      return ["GET", "/v2/"];
    case "catalog":
      return ["GET", `/v2/_catalog${query(paged(each))}`];
    case "tags":
      return ["GET", `/v2/${each.spelling}/tags/list${query(paged(each))}`];
    case "manifest-get":
      return [each.head ? "HEAD" : "GET", `/v2/${each.spelling}/manifests/${at(each.reference)}`];
    case "manifest-put": {
      const parameters = new URLSearchParams(each.tags.map((text) => ["tag", text]));
      if (named(each.algorithm) !== "") parameters.set("digest-algorithm", each.algorithm);
      return ["PUT", `/v2/${each.spelling}/manifests/${at(each.reference)}?${parameters.toString()}`];
    }
    case "manifest-delete":
      return ["DELETE", `/v2/${each.spelling}/manifests/${at(each.reference)}`];
    case "blob-get":
      return [each.head ? "HEAD" : "GET", `/v2/${each.spelling}/blobs/${each.digest}`];
    case "blob-delete":
      return ["DELETE", `/v2/${each.spelling}/blobs/${each.digest}`];
    case "upload-begin":
      return ["POST", `/v2/${each.spelling}/blobs/uploads/${query({ digest: each.whole, "digest-algorithm": named(each.algorithm) })}`];
    case "mount":
      return [
        "POST",
        `/v2/${each.spelling}/blobs/uploads/${query({ mount: each.digest, from: each.from?.spelling, "digest-algorithm": named(each.algorithm) })}`,
      ];
    case "upload-finish":
      return ["PUT", `/v2/${each.spelling}/blobs/uploads/${each.id}${query({ digest: each.digest })}`];
    case "referrers":
      return ["GET", `/v2/${each.spelling}/referrers/${each.subject}${query({ artifactType: each.artifactType, ...paged(each) })}`];
    default:
      return [
        { "upload-get": "GET", "upload-append": "PATCH", "upload-cancel": "DELETE" }[each.kind],
        `/v2/${each.spelling}/blobs/uploads/${each.id}`,
      ];
  }
}

describe("parseRequest", () => {
  it("gives back every request from its address, also when the path is percent-encoded", () => {
    fc.assert(
      fc.property(request, fc.boolean(), (each, encodes) => {
        const [method, url] = addressOf(each);
        if (each.kind === "manifest-put" && each.reference.kind === "tag" && each.tags.length > 0) {
          assert.equal(outcome(method, url), "TAG_INVALID");
          return;
        }
        const mark = url.indexOf("?");
        const path = mark === -1 ? url : url.slice(0, mark);
        const written = encodes ? path.replaceAll(":", "%3A").replaceAll("a", "%61") + url.slice(path.length) : url;
        // A clone has the usual prototypes, which the generator's records do not always have.
        assert.deepEqual(outcome(method, written), structuredClone(each));
      }),
      { numRuns: 3000 },
    );
  });

  it("refuses the rest with an error of the spec, whatever the method and the address", () => {
    const piece = fc.oneof(
      fc.constantFrom(
        "/",
        "//",
        "?",
        "&",
        "=",
        "%",
        "%2F",
        "%00",
        "%zz",
        "%C3%28",
        "..",
        ".",
        "\0",
        "\n",
        " ",
        "#",
        "v2",
        "/v2/",
        "n=",
        "last=%00",
        "digest=",
        "mount=",
        "tag=",
      ),
      fc.constantFrom(...WORDS),
      fc.constantFrom(SHA256, SHA512, "sha256:", "latest"),
      repository,
      fc.string({ unit: "binary", maxLength: 4 }),
    );
    const url = fc.oneof(
      fc.array(piece, { maxLength: 8 }).map((parts) => `/v2/${parts.join("")}`),
      fc.array(piece, { maxLength: 8 }).map((parts) => `/v2/${parts.join("/")}`),
      fc.string({ unit: "binary" }),
      fc.webUrl({ withQueryParameters: true }),
    );
    fc.assert(
      fc.property(fc.constantFrom(...METHODS), url, (method, address) => void outcome(method, address)),
      { numRuns: 10_000 },
    );
  });

  const R = "a/b";
  const cases: [string, string, string | Partial<V2Request>][] = [
    ["GET", "/v2", { kind: "ping" }],
    ["HEAD", "/v2/", { kind: "ping" }],
    ["POST", "/v2/", "UNSUPPORTED"],
    ["GET", "/v2//", "NAME_UNKNOWN"],
    ["GET", "", "NAME_UNKNOWN"],
    ["GET", "/v2/_catalog?n=10001", { kind: "catalog", page: { limit: MAX_PAGE_SIZE, last: "" } }],
    ["GET", "/v2/_catalog?n=-1", "PAGE_INVALID"],
    ["GET", "/v2/_catalog?n=", { kind: "catalog", page: { limit: undefined, last: "" } }],
    ["GET", "/v2/_catalog/?n=+7&unknown=1&=", { kind: "catalog", page: { limit: 7, last: "" } }],
    ["GET", "/v2/_catalog?n=1e3", "PAGE_INVALID"],
    ["GET", `/v2/_catalog?n=${"9".repeat(400)}`, { kind: "catalog", page: { limit: MAX_PAGE_SIZE, last: "" } }],
    // A database's text cannot hold NUL: this was answered with 500 on PostgreSQL.
    ["GET", "/v2/_catalog?last=a%00", "PAGE_INVALID"],
    ["GET", `/v2/${R}/tags/list?last=%0a`, "PAGE_INVALID"],
    ["GET", `/v2/${R}/referrers/${SHA256}?artifactType=%00`, "REQUEST_INVALID"],
    ["GET", `/v2/${R}/referrers/${SHA256}?artifactType=`, { kind: "referrers" }],
    ["GET", `/v2/${R}/tags/other`, "NAME_UNKNOWN"],
    ["GET", `/v2/${R}/tags/uploads/x`, "NAME_UNKNOWN"],
    ["GET", `/v2/${R}/manifests/`, "NAME_UNKNOWN"],
    ["GET", `/v2/${R}/manifests/a/b`, "NAME_UNKNOWN"],
    ["GET", `/v2/${R}/manifests/%2e%2e`, "MANIFEST_UNKNOWN"],
    ["GET", `/v2/${R}/../${R}/manifests/x`, "NAME_UNKNOWN"],
    ["PUT", `/v2/${R}/../${R}/manifests/x`, "NAME_INVALID"],
    ["GET", `/v2/${R}%2Fc/manifests/x`, { kind: "manifest-get", repository: `${R}/c` as never }],
    ["GET", `/v2/${R}%252Fc/manifests/x`, "NAME_UNKNOWN"],
    // An impossible repository name is unknown to a reader, and an error for a writer.
    ["GET", "/v2/UPPER/x/manifests/x", "NAME_UNKNOWN"],
    ["HEAD", `/v2/UPPER/x/blobs/${SHA256}`, "NAME_UNKNOWN"],
    ["GET", "/v2/UPPER/x/tags/list", "NAME_UNKNOWN"],
    ["GET", `/v2/UPPER/x/referrers/${SHA256}`, "NAME_UNKNOWN"],
    ["DELETE", "/v2/UPPER/x/manifests/x", "NAME_INVALID"],
    ["POST", "/v2/UPPER/x/blobs/uploads/", "NAME_INVALID"],
    ["PATCH", "/v2/UPPER/x/blobs/uploads/x", "NAME_INVALID"],
    ["GET", `/v2//${R}/manifests/x`, "NAME_UNKNOWN"],
    ["GET", `/v2/${R}//manifests/x`, "NAME_UNKNOWN"],
    ["GET", `/v2/${R}/manifests/x//`, "NAME_UNKNOWN"],
    ["POST", `/v2/a%2F%2Fb/blobs/uploads/`, "NAME_INVALID"],
    ["GET", `/v2/${R}/manifests/x/`, { kind: "manifest-get", reference: { kind: "tag", tag: "x" as never } }],
    ["GET", `/v2/${R}/tags/list/?n=3`, { kind: "tags", page: { limit: 3, last: "" } }],
    ["PATCH", `/v2/${R}/blobs/uploads/x/`, { kind: "upload-append", id: "x" }],
    ["GET", `/v2/${R}/manifests/x%00`, "MANIFEST_UNKNOWN"],
    ["GET", `/v2/%ff/manifests/x`, "NAME_UNKNOWN"],
    ["PUT", `/v2/%ff/manifests/x`, "NAME_INVALID"],
    // The algorithm is not stored here: the digest is well formed, but unknown.
    ["HEAD", `/v2/${R}/blobs/sha384:${"a".repeat(96)}`, "BLOB_UNKNOWN"],
    ["GET", `/v2/${R}/manifests/blake3:${"a".repeat(64)}`, "MANIFEST_UNKNOWN"],
    ["PUT", `/v2/${R}/manifests/blake3:${"a".repeat(64)}`, "DIGEST_INVALID"],
    ["GET", `/v2/${R}/blobs/sha256:abc`, "DIGEST_INVALID"],
    ["GET", `/v2/${R}/manifests/${SHA256.toUpperCase()}`, "DIGEST_INVALID"],
    ["GET", `/v2/${R}/blobs/latest`, "DIGEST_INVALID"],
    ["PUT", `/v2/${R}/blobs/${SHA256}`, "UNSUPPORTED"],
    ["POST", `/v2/${R}/blobs/uploads`, { kind: "upload-begin" }],
    ["GET", `/v2/${R}/blobs/uploads/`, "UNSUPPORTED"],
    ["GET", `/v2/${R}/blobs/uploads/..`, "BLOB_UPLOAD_UNKNOWN"],
    ["GET", `/v2/${R}/blobs/uploads/${"a".repeat(129)}`, "BLOB_UPLOAD_UNKNOWN"],
    ["POST", `/v2/${R}/blobs/uploads/x`, "UNSUPPORTED"],
    ["PUT", `/v2/${R}/blobs/uploads/x`, "DIGEST_INVALID"],
    ["PUT", `/v2/${R}/blobs/uploads/x?digest=${SHA512}`, { kind: "upload-finish", digest: SHA512 as never }],
    ["PUT", `/v2/${R}/blobs/uploads/x?digest=`, "DIGEST_INVALID"],
    ["PUT", `/v2/${R}/blobs/uploads/x&digest=${SHA256}`, { kind: "upload-finish", id: "x", digest: SHA256 as never }],
    ["PUT", `/v2/${R}/blobs/uploads/x?&digest=${SHA256}`, { kind: "upload-finish", id: "x", digest: SHA256 as never }],
    // containerd sends the repository's name in the registry that it pulled from.
    ["POST", `/v2/${R}/blobs/uploads/?mount=${SHA256}&from=UPPER/x`, { kind: "upload-begin", whole: undefined }],
    ["POST", `/v2/${R}/blobs/uploads/?mount=${SHA256}&from=docker.io/library/alpine:3`, { kind: "upload-begin", whole: undefined }],
    ["POST", `/v2/${R}/blobs/uploads/?mount=${SHA256}&from=${"a/".repeat(200)}a`, { kind: "upload-begin", whole: undefined }],
    ["POST", `/v2/${R}/blobs/uploads/?mount=${SHA256}&from=`, { kind: "mount", from: undefined }],
    ["POST", `/v2/${R}/blobs/uploads/?mount=x`, { kind: "upload-begin", whole: undefined }],
    ["POST", `/v2/${R}/blobs/uploads/?mount=&from=${R}`, { kind: "upload-begin", whole: undefined }],
    ["POST", `/v2/${R}/blobs/uploads/?digest=`, { kind: "upload-begin", whole: undefined }],
    ["POST", `/v2/${R}/blobs/uploads/?digest=x`, "DIGEST_INVALID"],
    ["POST", `/v2/${R}/blobs/uploads/?digest-algorithm=`, { kind: "upload-begin", algorithm: "sha256" }],
    ["POST", `/v2/${R}/blobs/uploads/?digest-algorithm=__proto__`, "DIGEST_INVALID"],
    ["PUT", `/v2/${R}/manifests/x?tag=y`, "TAG_INVALID"],
    ["PUT", `/v2/${R}/manifests/${SHA256}?${"tag=y&".repeat(MAX_TAGS_PER_PUSH + 1)}`, "URI_TOO_LONG"],
    ["PUT", `/v2/${R}/manifests/${SHA256}?tag=-`, "TAG_INVALID"],
    ["PUT", `/v2/${R}/manifests/${SHA256}?tag=&tag=y`, { kind: "manifest-put", tags: ["y" as never] }],
    ["GET", `/v2/a/blobs/uploads/manifests`, { kind: "upload-get", repository: "library/a" as never, id: "manifests" }],
    ["GET", "/v2/myapp/manifests/17", { kind: "manifest-get", repository: "library/myapp" as never, spelling: "myapp" }],
    ["GET", "/v2/library/manifests/17", { kind: "manifest-get", repository: "library/library" as never, spelling: "library" }],
    ["GET", "/v2/MyApp/manifests/17", "NAME_UNKNOWN"],
    ["PUT", "/v2/MyApp/manifests/17", "NAME_INVALID"],
    ["GET", `/v2/${"a".repeat(248)}/manifests/17`, "NAME_UNKNOWN"],
    ["GET", `/v2/${"a".repeat(247)}/manifests/17`, { kind: "manifest-get" }],
    ["POST", `/v2/myapp/blobs/uploads/?mount=${SHA256}&from=base`, { from: { repository: "library/base" as never, spelling: "base" } }],
    ["GET", "/v2/_catalog/tags/list", "NAME_UNKNOWN"],
    ["GET", "/v2/tags/list", "NAME_UNKNOWN"],
    ["GET", "/v2/tags/tags/list", { kind: "tags", repository: "library/tags" as never }],
    ["GET", `/v2/a/manifests/manifests/manifests`, { kind: "manifest-get", repository: "a/manifests" as never }],
    ["GET", `/v2/a/blobs/uploads/tags/list`, { kind: "tags", repository: "a/blobs/uploads" as never }],
    ["POST", `/v2/a/blobs/uploads/blobs/uploads/`, { kind: "upload-begin", repository: "a/blobs/uploads" as never }],
    ["GET", `/v2/${"a".repeat(MAX_URL_LENGTH)}`, "URI_TOO_LONG"],
    ["GET", `/v2/${"a/".repeat(4000)}manifests/x`, "NAME_UNKNOWN"],
  ];
  for (const [method, url, expected] of cases) {
    it(`${method} ${JSON.stringify(url.slice(0, 80))}`, () => {
      const got = outcome(method, url);
      if (typeof expected === "string") assert.equal(got, expected);
      else assert.partialDeepStrictEqual(got, expected);
    });
  }

  it("refuses names of one segment where there is no default project", () => {
    const codeOf = (method: string, url: string): string => {
      try {
        return parseRequest(method, url, undefined).kind;
      } catch (error) {
        return (error as RegistryError).code;
      }
    };
    assert.equal(codeOf("GET", "/v2/myapp/manifests/17"), "NAME_UNKNOWN");
    assert.equal(codeOf("PUT", "/v2/myapp/manifests/17"), "NAME_INVALID");
    assert.equal(codeOf("POST", `/v2/a/b/blobs/uploads/?mount=${SHA256}&from=base`), "upload-begin");
    assert.equal(codeOf("GET", "/v2/a/b/manifests/17"), "manifest-get");
  });

  it("ends in time on addresses made to be searched for long", () => {
    for (const url of ["/manifests", "/blobs/uploads", "/tags/list", "/a/manifests/"]) {
      for (const prefix of ["/v2", "/v2/a/b"]) outcome("GET", `${prefix}${url.repeat(Math.floor((MAX_URL_LENGTH - 10) / url.length))}!`);
    }
  });
});
