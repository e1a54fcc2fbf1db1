// Names, tags, references and digests: the parsers return accepted texts unchanged, and refuse others with their own error.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { describe, it } from "node:test";
import fc from "fast-check";
import { algorithmOf, createHasher, digestOf, hexOf, isDigest, parseDigest, parseDigestAlgorithm } from "./digest.ts";
import { RegistryError } from "./errors.ts";
import { findRepositoryName, isTag, parseProjectName, parseReference, parseRepositoryName, parseTag, projectOf } from "./reference.ts";

const segment = fc.stringMatching(/^[a-z0-9]{1,6}((\.|_|__|-{1,3})[a-z0-9]{1,4}){0,2}$/);
const repository = fc.array(segment, { minLength: 2, maxLength: 6 }).map((parts) => parts.join("/"));
const tag = fc.stringMatching(/^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$/);
const digest = fc.oneof(fc.stringMatching(/^sha256:[0-9a-f]{64}$/), fc.stringMatching(/^sha512:[0-9a-f]{128}$/));
/** Texts that are nearly valid: joined from valid and invalid pieces. */
const nearly = fc
  .array(
    fc.oneof(
      fc.constantFrom("/", "//", ".", "..", "_", "___", "-", ":", "@", "A", "é", "\0", "\n", " ", "%2f", "sha256:", "sha512:", "latest"),
      segment,
      digest,
      fc.string({ unit: "binary", maxLength: 5 }),
    ),
    { maxLength: 6 },
  )
  .map((parts) => parts.join(""));

/** The parser's result, or the code of its refusal; any other error is a defect. */
function outcome<T>(parse: () => T): T | { code: string } {
  try {
    return parse();
  } catch (error) {
    if (error instanceof RegistryError) return { code: error.code };
    throw error;
  }
}

describe("repository names", () => {
  it("are taken unchanged, and begin with their project", () => {
    fc.assert(
      fc.property(repository, (text) => {
        const name = parseRepositoryName(text);
        assert.equal(name, text);
        assert.ok(text.startsWith(`${projectOf(name)}/`));
        assert.equal(parseProjectName(projectOf(name)), projectOf(name));
      }),
    );
  });

  it("of one segment are those of the default project, where there is one", () => {
    fc.assert(
      fc.property(segment, segment, (text, project) => {
        assert.equal(parseRepositoryName(text, parseProjectName(project)), `${project}/${text}`);
        assert.deepEqual(
          outcome(() => parseRepositoryName(text)),
          { code: "NAME_INVALID" },
        );
      }),
    );
    fc.assert(
      fc.property(repository, segment, (text, project) => assert.equal(parseRepositoryName(text, parseProjectName(project)), text)),
    );
    fc.assert(
      fc.property(nearly, fc.constantFrom(undefined, parseProjectName("library")), (text, project) => {
        const got = outcome(() => parseRepositoryName(text, project));
        assert.equal(findRepositoryName(text, project), typeof got === "object" ? undefined : got);
      }),
      { numRuns: 2000 },
    );
  });

  it("are refused as NAME_INVALID or not at all", () => {
    fc.assert(
      fc.property(nearly, (text) => {
        const got = outcome(() => parseRepositoryName(text));
        if (typeof got === "object") assert.deepEqual(got, { code: "NAME_INVALID" });
        else assert.match(text, /^[a-z0-9]+([._-]+[a-z0-9]+)*(\/[a-z0-9]+([._-]+[a-z0-9]+)*)+$/);
      }),
      { numRuns: 2000 },
    );
  });

  const long = "a".repeat(128);
  for (const [text, isRight] of [
    ["a/b", true],
    [`${long}/${"b".repeat(126)}`, true],
    [`${long}/${"b".repeat(127)}`, false],
    [`${long}a/b`, false],
    ["a", false],
    ["", false],
    ["/a/b", false],
    ["a/b/", false],
    ["a//b", false],
    ["a/../b", false],
    ["a/.b", false],
    ["a/b_", false],
    ["a/b___c", false],
    ["a/b..c", false],
    ["a/b._c", false],
    ["a/b----c", true],
    ["a/b__c", true],
    ["a/B", false],
    ["a/b\n", false],
    ["a/ö", false],
    ["manifests/blobs/uploads/tags/referrers", true],
  ] as const) {
    it(`${JSON.stringify(text.slice(0, 40))} of ${text.length} is ${isRight ? "one" : "none"}`, () => {
      assert.deepEqual(
        outcome(() => parseRepositoryName(text)),
        isRight ? text : { code: "NAME_INVALID" },
      );
    });
  }

  it("end in time where every prefix nearly matches", () => {
    for (const text of ["a/" + "a-".repeat(120), "a/" + "a_".repeat(120) + "!", "a/".repeat(127), "-".repeat(100_000)]) {
      assert.deepEqual(
        outcome(() => parseRepositoryName(text)),
        { code: "NAME_INVALID" },
      );
    }
  });
});

describe("references", () => {
  it("are tags or digests, never both", () => {
    fc.assert(
      fc.property(fc.oneof(tag, digest), (text) => {
        const reference = parseReference(text);
        assert.equal(reference.kind === "tag" ? reference.tag : reference.digest, text);
        assert.equal(reference.kind === "digest", isDigest(text));
        assert.equal(isTag(text), reference.kind === "tag");
      }),
    );
  });

  it("are refused as a digest where there is a colon, else as a tag", () => {
    fc.assert(
      fc.property(nearly, (text) => {
        const got = outcome(() => parseReference(text));
        if ("code" in got) assert.equal(got.code, text.includes(":") ? "DIGEST_INVALID" : "TAG_INVALID");
        const tagged = outcome(() => parseTag(text));
        if (typeof tagged === "string") assert.equal(tagged, text);
      }),
      { numRuns: 2000 },
    );
  });

  for (const text of ["", "-a", ".a", "a".repeat(129), "a/b", "a\n", "ä", "a b", "\0"]) {
    it(`${JSON.stringify(text.slice(0, 20))} is no tag`, () => {
      assert.deepEqual(
        outcome(() => parseReference(text)),
        { code: "TAG_INVALID" },
      );
    });
  }
  for (const text of [
    "sha256:",
    `sha256:${"A".repeat(64)}`,
    `sha256:${"a".repeat(63)}`,
    `sha256:${"a".repeat(65)}`,
    `sha256:${"a".repeat(64)}\n`,
    `SHA256:${"a".repeat(64)}`,
    `sha512:${"a".repeat(64)}`,
    `sha384:${"a".repeat(96)}`,
    `md5:${"a".repeat(32)}`,
    `sha256:${"a".repeat(64)}:x`,
    "latest:x",
  ]) {
    it(`${JSON.stringify(text.slice(0, 20))} of ${text.length} is no digest`, () => {
      assert.deepEqual(
        outcome(() => parseReference(text)),
        { code: "DIGEST_INVALID" },
      );
      assert.deepEqual(
        outcome(() => parseDigest(text)),
        { code: "DIGEST_INVALID" },
      );
    });
  }
});

describe("digests", () => {
  it("come out the same in pieces, from a copy, and at once", () => {
    fc.assert(
      fc.property(
        fc.array(fc.uint8Array({ maxLength: 50 })),
        fc.constantFrom("sha256" as const, "sha512" as const),
        (pieces, algorithm) => {
          const hasher = createHasher(algorithm);
          for (const piece of pieces) hasher.update(piece);
          const copy = hasher.copy();
          hasher.update(Buffer.from("more"));
          const all = Buffer.concat(pieces);
          assert.equal(copy.digest(), digestOf(all, algorithm));
          assert.equal(copy.digest(), `${algorithm}:${createHash(algorithm).update(all).digest("hex")}`);
          assert.equal(hasher.digest(), digestOf(Buffer.concat([all, Buffer.from("more")]), algorithm));
          assert.equal(parseDigest(copy.digest()), copy.digest());
          assert.deepEqual([algorithmOf(copy.digest()), `${algorithm}:${hexOf(copy.digest())}`], [algorithm, copy.digest()]);
        },
      ),
      { numRuns: 50 },
    );
  });

  it("are of two algorithms only, whatever an object has besides", () => {
    for (const name of ["sha256", "sha512"]) assert.equal(parseDigestAlgorithm(name), name);
    for (const name of ["", "md5", "SHA256", "constructor", "toString", "__proto__"]) {
      assert.deepEqual(
        outcome(() => parseDigestAlgorithm(name)),
        { code: "DIGEST_INVALID" },
      );
    }
  });
});
