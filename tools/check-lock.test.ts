// The check of the lock file finds missing hashes and foreign addresses.
import assert from "node:assert/strict";
import { dirname } from "node:path";
import { it } from "node:test";
import { checkLock, checkLockOf } from "./check-lock.ts";

const lockOf = (packages: Readonly<Record<string, object>>): string => JSON.stringify({ packages });

it("check lock: finds packages without a hash, with a weak one, and from elsewhere", () => {
  const good = { version: "1.0.0", integrity: "sha512-AAAA" };
  assert.deepEqual(checkLock(lockOf({ "": {}, "apps/server": {}, "node_modules/@berth/oci": { link: true }, "node_modules/a": good })), []);
  const bad = {
    "node_modules/none": { version: "1.0.0", optional: true, dev: true },
    "node_modules/a/node_modules/weak": { version: "1.0.0", integrity: "sha1-AAAA" },
    "node_modules/foreign": { ...good, resolved: "http://10.0.0.1:4873/foreign.tgz" },
  };
  assert.equal(checkLock(lockOf(bad)).length, 3);
});

it("check lock: finds nothing in this repository's", () => assert.deepEqual(checkLockOf(dirname(import.meta.dirname)), []));
