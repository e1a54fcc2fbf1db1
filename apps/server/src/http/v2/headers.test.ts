// Headers of the data plane: conditions, entity tags, lengths, media types. Each is read as RFC 9110 says, or refused.
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { Digest } from "@berth/oci/digest";
import { RegistryError } from "@berth/oci/errors";
import fc from "fast-check";
import { contentLength, isNotModified, mediaType, tagCondition } from "./headers.ts";

const A = `sha256:${"a".repeat(64)}` as Digest;
const B = `sha512:${"b".repeat(128)}` as Digest;

function code<T>(read: () => T): T | string {
  try {
    return read();
  } catch (error) {
    if (error instanceof RegistryError) return error.code;
    throw error;
  }
}

const text = fc
  .array(fc.oneof(fc.constantFrom('"', "W/", "*", ",", " ", "\\", A, B, `"${A}"`, `W/"${B}"`, '"x"'), fc.string({ maxLength: 5 })), {
    maxLength: 8,
  })
  .map((parts) => parts.join(""));

describe("conditions", () => {
  it("are none, a match or a none-match with digests, or refused: never silently dropped", () => {
    fc.assert(
      fc.property(fc.option(text, { nil: undefined }), fc.option(text, { nil: undefined }), (match, noneMatch) => {
        const got = code(() => tagCondition(match, noneMatch));
        if (typeof got === "string") {
          assert.equal(got, "REQUEST_INVALID");
          return;
        }
        assert.equal(got.kind === "none", match === undefined && noneMatch === undefined);
        if (got.kind !== "none") {
          assert.equal(got.kind, match === undefined ? "none-match" : "match");
          assert.ok(got.digests === "*" || got.digests.length > 0);
        }
      }),
      { numRuns: 3000 },
    );
  });

  it("name digests quoted, weak, bare, and several", () => {
    for (const header of [`"${A}"`, A, `W/"${A}"`, ` "${A}" `, `"x", "${A}"`, `"${B}","${A}"`]) {
      assert.ok(isNotModified(header, A), header);
      const condition = tagCondition(header, undefined);
      assert.ok(condition.kind === "match" && condition.digests !== "*" && condition.digests.includes(A), header);
    }
    assert.deepEqual(tagCondition(undefined, "*"), { kind: "none-match", digests: "*" });
    assert.ok(isNotModified(" * ", A));
    for (const header of [undefined, "", `"${B}"`, `"${A}x"`, `"${A.toUpperCase()}"`, "**"])
      assert.equal(isNotModified(header, A), false, String(header));
    assert.equal(
      code(() => tagCondition("*", "*")),
      "REQUEST_INVALID",
    );
    assert.equal(
      code(() => tagCondition("", undefined)),
      "REQUEST_INVALID",
    );
    assert.equal(
      code(() => tagCondition(`${'"x",'.repeat(64)}"${A}"`, undefined)),
      "REQUEST_INVALID",
      "only so many are looked at",
    );
  });
});

describe("Content-Length and Content-Type", () => {
  it("a length is digits, or refused", () => {
    fc.assert(
      fc.property(
        fc.oneof(fc.string(), fc.nat().map(String), fc.constantFrom("-1", "+1", "1.0", "0x1", " 1", "1,1", "9".repeat(16), "")),
        (header) => {
          const got = code(() => contentLength(header));
          if (/^\d{1,15}$/.test(header)) assert.equal(got, Number(header));
          else assert.equal(got, "REQUEST_INVALID");
        },
      ),
    );
    assert.equal(contentLength(undefined), undefined);
  });

  it("a type is taken without parameters; those that say nothing count as none", () => {
    fc.assert(fc.property(fc.string(), (header) => assert.ok(mediaType(header) === undefined || !mediaType(header)!.includes(";"))));
    assert.equal(mediaType("application/vnd.oci.image.index.v1+json; charset=utf-8"), "application/vnd.oci.image.index.v1+json");
    assert.equal(mediaType("Application/Vnd.OCI.image.index.v1+JSON"), "application/vnd.oci.image.index.v1+json");
    const sayNothing = ["application/octet-stream", "Application/JSON; charset=utf-8", "application/x-www-form-urlencoded", "text/plain"];
    for (const header of [undefined, "", ";x", ...sayNothing]) assert.equal(mediaType(header), undefined);
  });
});
