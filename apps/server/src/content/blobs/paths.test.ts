// No id, name or key leads out of the store, and names stay within the limits of file systems.
import assert from "node:assert/strict";
import { basename, resolve, sep } from "node:path";
import { describe, it } from "node:test";
import { parseDigest } from "@berth/oci/digest";
import fc from "fast-check";
import {
  blobPath,
  checkPrefix,
  createNames,
  fileKey,
  keyOfMarker,
  keyOfObject,
  markerPath,
  objectKey,
  objectName,
  parseStorageKey,
  segmentPath,
} from "./paths.ts";

const ROOT = "/srv/berth";
const LONGEST = {
  upload: "u".repeat(40),
  segment: `${"p".repeat(32)}.${"9".repeat(15)}`,
  digest: parseDigest(`sha512:${"a".repeat(128)}`),
};

describe("stored layout", () => {
  it("lets no text lead out of the root", () => {
    const part = fc.constantFrom("..", ".", "/", "\\", "\0", "a", "upload-1", ".nfs1", "%2e%2e", "blobs", "sha256", "x.1", "-", "A");
    const text = fc.oneof(
      fc.string(),
      fc.array(part, { maxLength: 8 }).map((parts) => parts.join("")),
      fc.array(part).map((parts) => parts.join("/")),
    );
    const inside = (make: () => string): void => {
      let path: string;
      try {
        path = make();
      } catch {
        return;
      }
      assert.ok(resolve(path).startsWith(ROOT + sep), path);
      assert.equal(resolve(path), path);
    };
    fc.assert(
      fc.property(text, text, (one, other) => {
        inside(() => segmentPath(ROOT, one, other));
        inside(() => segmentPath(ROOT, "upload-1", other));
        inside(() => blobPath(ROOT, parseStorageKey(one)));
        inside(() => blobPath(ROOT, parseStorageKey(`blobs/${one}`)));
        inside(() => markerPath(ROOT, one, LONGEST.digest, other));
        inside(() => blobPath(ROOT, keyOfMarker("upload-1", one) ?? parseStorageKey("")));
      }),
      { numRuns: 2000 },
    );
  });

  it("keeps the longest file name within 255 bytes", () => {
    const key = fileKey(LONGEST.digest, LONGEST.upload, LONGEST.segment);
    assert.ok(basename(key).length <= 255);
    assert.ok(basename(markerPath(ROOT, LONGEST.upload, LONGEST.digest, LONGEST.segment)).length <= 255);
    assert.equal(parseStorageKey(key), key);
  });

  it("reads back what it wrote", () => {
    const marker = basename(markerPath(ROOT, LONGEST.upload, LONGEST.digest, LONGEST.segment));
    assert.equal(keyOfMarker(LONGEST.upload, marker), fileKey(LONGEST.digest, LONGEST.upload, LONGEST.segment));
    assert.equal(keyOfMarker(LONGEST.upload, LONGEST.segment), undefined);
    const key = objectKey(LONGEST.upload, LONGEST.segment);
    assert.equal(keyOfObject("a/b/", objectName("a/b/", key)), key);
  });

  it("never gives a name twice and knows its own", () => {
    const names = createNames("process-1");
    const made = Array.from({ length: 1000 }, () => names.next());
    assert.equal(new Set(made).size, 1000);
    assert.ok(made.every((name) => names.owns(name)));
    assert.equal(names.owns("process-10.1"), false);
    assert.throws(() => createNames("../x"));
  });

  it("ends a prefix with one slash and refuses paths that climb", () => {
    assert.equal(checkPrefix(""), "");
    assert.equal(checkPrefix("registry/one"), "registry/one/");
    assert.equal(checkPrefix("registry/one/"), "registry/one/");
    for (const bad of ["/", "/a", "a//b", "..", "a/../b", "./a", "ä"]) assert.throws(() => checkPrefix(bad), bad);
  });
});
