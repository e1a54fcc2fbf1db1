// Which requests are broken off in favour of those that wait, case by case.
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { createTransfer, type Transfer } from "./transfer-rate.ts";
import { findVictims, type Party, SHARE_WAIT_MS } from "./preemption.ts";

const NOW = 1_000_000;

/** A client that the server has waited for since `waitedMs`, after it moved `bytes` in a second before. */
function client(source: string, kind: Transfer["kind"], waitedMs: number, bytes: number, isAnonymous = false): Party {
  const transfer = createTransfer({ kind, bytesPerSecond: 100, windowMs: 10_000 });
  transfer.wait(NOW - waitedMs - 1000, () => undefined);
  transfer.moved(NOW - waitedMs, bytes);
  transfer.wait(NOW - waitedMs, () => undefined);
  return { source, isAnonymous, transfer };
}
const working = (source: string): Party => ({ source, isAnonymous: false, transfer: undefined });

function victims(holders: readonly Party[], waiter: Party, more: { waitedMs?: number; limit?: number; anonymousLimit?: number } = {}) {
  const held = new Map<string, number>([[waiter.source, 0]]);
  for (const { source } of holders) held.set(source, (held.get(source) ?? 0) + 1);
  return findVictims(
    {
      limit: more.limit ?? holders.length,
      anonymousLimit: more.anonymousLimit ?? Infinity,
      anonymousHeld: holders.filter(({ isAnonymous }) => isAnonymous).length,
      holdings: holders.map((party) => ({ party, weight: 1 })),
      held,
      waiting: [{ party: waiter, since: NOW - (more.waitedMs ?? SHARE_WAIT_MS) }],
    },
    NOW,
  );
}

describe("making room", () => {
  it("takes who is too slow of the address that holds most, whoever waits and however short", () => {
    const [one, two, three] = [client("a", "upload", 11_000, 0), client("b", "upload", 11_000, 0), client("b", "download", 11_000, 5)];
    assert.deepEqual(victims([one, two, three], working("b"), { waitedMs: 0 }), [{ party: three, reason: "slow" }]);
    assert.deepEqual(victims([one, working("b"), working("b")], working("c"), { waitedMs: 0 }), [{ party: one, reason: "slow" }]);
  });

  it("never takes a working push of an address that holds no more than its share", () => {
    const push = client("a", "upload", 10, 1e9);
    const readers = [1, 2, 3].map((n) => client("b", "download", 500, n));
    assert.deepEqual(victims([push, ...readers], working("c")), [{ party: readers[0], reason: "share" }]);
    // Every address has one: none is broken off for another.
    assert.deepEqual(victims([push, client("b", "download", 500, 1), client("c", "download", 500, 1)], working("d")), []);
  });

  it("takes nobody for who has not waited, nor for one of the same address", () => {
    const readers = [1, 2, 3].map((n) => client("b", "download", 500, n));
    assert.deepEqual(victims(readers, working("c"), { waitedMs: SHARE_WAIT_MS - 1 }), []);
    assert.deepEqual(victims(readers, working("b")), []);
  });

  it("takes nobody whose client is not what is waited for", () => {
    assert.deepEqual(victims([working("b"), working("b"), working("b")], working("c")), []);
  });

  it("takes a reader before a push of one address", () => {
    const [push, reader] = [client("b", "upload", 500, 0), client("b", "download", 500, 1e6)];
    assert.deepEqual(victims([push, reader, working("b")], working("c")), [{ party: reader, reason: "share" }]);
  });

  it("takes callers without an account for an account, where they hold more than their part", () => {
    const strangers = ["a", "b", "c"].map((source, n) => client(source, "download", 500, n, true));
    assert.deepEqual(victims(strangers, working("d"), { anonymousLimit: 2 }), [{ party: strangers[0], reason: "share" }]);
    assert.deepEqual(victims(strangers, working("d"), { anonymousLimit: 3 }), []);
    assert.deepEqual(victims(strangers, { ...working("d"), isAnonymous: true }, { anonymousLimit: 2 }), []);
  });
});
