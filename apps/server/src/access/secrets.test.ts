// Password hashing: form, limits, the queue. Not here: who a secret belongs to (authenticate.test.ts).
import assert from "node:assert/strict";
import { it } from "node:test";
import type { RegistryError } from "@berth/oci/errors";
import { createPasswordHasher, generatePassword, generateSecret, hashSecret, isSecretOf, verifySecret } from "./secrets.ts";

it("secrets: hashes to PHC form with a salt of its own, and checks it", async () => {
  const hasher = createPasswordHasher();
  const [one, two] = await Promise.all([hasher.hash("pass word"), hasher.hash("pass word")]);
  assert.match(one, /^\$argon2id\$v=19\$m=19456,t=2,p=1\$[A-Za-z0-9+/]{22}\$[A-Za-z0-9+/]{43}$/);
  assert.notEqual(one, two);
  assert.equal(await hasher.verify("pass word", one), true);
  assert.equal(await hasher.verify("pass Word", one), false);
  // The same letters in another Unicode composition.
  const accented = await hasher.hash("caf\u00e9 au lait");
  assert.equal(await hasher.verify("cafe\u0301 au lait", accented), true);
});

it("secrets: checks hashes of another program with other parameters", async () => {
  // Source: the argon2 reference implementation's test.c, version 0x13, argon2id, t=2 m=8 (KiB 256) p=1.
  const reference = "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";
  assert.equal(await createPasswordHasher().verify("password", reference), true);
});

it("secrets: runs as much for an account that does not exist, and never says yes", async () => {
  const hasher = createPasswordHasher();
  assert.equal(await hasher.verify("anything", undefined), false);
  assert.equal(hasher.runs(), 1);
});

it("secrets: refuses stored hashes that would take all memory", async () => {
  for (const phc of ["$argon2id$v=19$m=9999999,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4", "plain", ""]) {
    await assert.rejects(createPasswordHasher().verify("password", phc), /not argon2id/);
  }
});

it("secrets: lets a few wait and refuses the rest with 429, then serves again", async () => {
  const hasher = createPasswordHasher({ concurrency: 1, maxWaiting: 2 });
  const attempts = await Promise.allSettled(Array.from({ length: 5 }, () => hasher.hash("p")));
  const refused = attempts.filter((attempt) => attempt.status === "rejected").map((attempt) => attempt.reason as RegistryError);
  assert.deepEqual(
    refused.map(({ code, status, headers }) => [code, status, headers["retry-after"]]),
    [
      ["TOOMANYREQUESTS", 429, "2"],
      ["TOOMANYREQUESTS", 429, "2"],
    ],
  );
  assert.equal(hasher.runs(), 3);
  await assert.rejects(
    hasher.verify("p", undefined, () => Promise.reject(new Error("given up"))),
    /given up/,
  );
  await hasher.hash("p");
  assert.equal(hasher.runs(), 4);
});

it("secrets: makes robot secrets that are recognised, unlike each other, and like nothing else", () => {
  const secret = generateSecret("robot");
  assert.ok(isSecretOf("robot", secret));
  assert.notEqual(secret, generateSecret("robot"));
  assert.ok(!isSecretOf("robot", secret.slice(0, -1)));
  assert.ok(!isSecretOf("robot", secret.toUpperCase()));
  assert.equal(verifySecret(secret, hashSecret(secret)), true);
  assert.equal(verifySecret(secret, hashSecret(generateSecret("robot"))), false);
  assert.equal(verifySecret(secret, undefined), false);
  assert.equal(verifySecret(secret, "sha256:short"), false);
  assert.ok(generatePassword().length >= 24);
});
