// To which hosts clients forward their credentials.
import assert from "node:assert/strict";
import { it } from "node:test";
import { carriesAuthorization } from "./host-names.ts";

for (const [from, to, expected] of [
  ["https://registry.example", "https://registry.example:9000/bucket/key?x=1", true],
  ["https://registry.example:8443", "https://bucket.registry.example/key", true],
  ["http://127.0.0.1:5000", "http://127.0.0.1:9000/bucket/key", true],
  ["http://[::1]:5000", "http://[::1]:9000/bucket/key", true],
  ["https://registry.example", "https://s3.example/bucket/key", false],
  ["https://registry.example", "https://notregistry.example/bucket/key", false],
  ["https://registry.example", "https://example/bucket/key", false],
  ["http://127.0.0.1:5000", "http://localhost:9000/bucket/key", false],
  ["nonsense", "https://s3.example/", true],
] as const) {
  it(`${from} to ${to}: ${expected ? "carried along" : "left behind"}`, () => assert.equal(carriesAuthorization(from, to), expected));
}
