// Clients below the minimum rate are recognised. Not here: when one is broken off for it (limits.test.ts, preemption.test.ts).
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { createTransfer, type Transfer } from "./transfer-rate.ts";

describe("least rate", () => {
  const WINDOW_MS = 10_000;
  const watch = (kind: "upload" | "download" = "upload", bytesPerSecond = 100) =>
    createTransfer({ kind, bytesPerSecond, windowMs: WINDOW_MS });
  const nothing = (): void => undefined;
  /** Moves that many bytes after that long a wait, starting at a time; returns the time afterwards. */
  function move(transfer: Transfer, from: number, waitedMs: number, sizeBytes: number): number {
    transfer.wait(from, nothing);
    transfer.moved(from + waitedMs, sizeBytes);
    return from + waitedMs;
  }
  function isTooSlowAfter(transfer: Transfer, from: number, waitingMs: number): boolean {
    transfer.wait(from, nothing);
    return transfer.isTooSlow(from + waitingMs);
  }

  it("counts only while the client is waited for, and only after its window", () => {
    assert.equal(isTooSlowAfter(watch(), 0, 9_999), false);
    assert.equal(isTooSlowAfter(watch(), 0, 10_000), true);
    assert.equal(isTooSlowAfter(watch("upload", 0), 0, 1e9), false);
    const resting = watch();
    move(resting, 0, 10, 1);
    assert.equal(resting.isTooSlow(1e9), false);
  });

  it("leaves alone who is fast enough, whose time the reader took, and who makes up for a pause", () => {
    const transfer = watch();
    let now = 0;
    for (let second = 0; second < 60; second++) {
      now = move(transfer, now, 1000, 101);
      assert.equal(isTooSlowAfter(transfer, now, 0), false);
    }
    // Bytes that were available at once: it was the reader who was slow.
    const read = watch();
    for (let piece = 0; piece < 1000; piece++) move(read, piece * 5000, 0, 1);
    assert.equal(isTooSlowAfter(read, 5e6, 9_999), false);
    const paused = watch();
    assert.equal(isTooSlowAfter(paused, move(paused, 0, 9_500, 2_000), 5_000), false);
  });

  it("gives no credit for what was long ago, or came at once", () => {
    const transfer = watch();
    let now = move(transfer, 0, 10, 1_000_000);
    for (let second = 0; second < 10; second++) now = move(transfer, now, 1000, 1);
    assert.equal(isTooSlowAfter(transfer, now, 0), false);
    for (let second = 0; second < 10; second++) now = move(transfer, now, 1000, 1);
    assert.equal(isTooSlowAfter(transfer, now, 0), true);
    const burst = watch("download");
    assert.equal(isTooSlowAfter(burst, move(burst, 0, 1, 1e9), WINDOW_MS), true);
  });

  it("is broken off once, and only while it is waited for", () => {
    const transfer = watch();
    const broken: string[] = [];
    transfer.breakOff("slow");
    transfer.wait(0, (reason) => broken.push(reason));
    transfer.breakOff("share");
    transfer.breakOff("slow");
    assert.deepEqual([broken, transfer.waitsSince], [["share"], undefined]);
  });
});
