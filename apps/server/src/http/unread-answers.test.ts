// Answers that clients do not take: their total size is bounded, and the address that holds most gives way.
import assert from "node:assert/strict";
import { it } from "node:test";
import { createUnreadAnswers } from "./unread-answers.ts";

function holder() {
  const unreadAnswers = createUnreadAnswers(100);
  const gone: string[] = [];
  const hold = (name: string, source: string, sizeBytes: number): (() => void) =>
    unreadAnswers.hold({ source, isAnonymous: false, transfer: undefined }, { destroy: () => void gone.push(name) as never }, sizeBytes);
  return { gone, hold };
}

it("unread answers: up to the bound nobody is broken off, and what is taken makes room", () => {
  const { gone, hold } = holder();
  const first = hold("a", "one", 60);
  hold("b", "two", 40);
  first();
  first();
  hold("c", "two", 60);
  assert.deepEqual(gone, []);
});

it("unread answers: beyond it the address that holds most gives way, whoever came last", () => {
  const { gone, hold } = holder();
  hold("a1", "one", 40);
  hold("a2", "one", 40);
  hold("b", "two", 30);
  assert.deepEqual(gone, ["a1"]);
  hold("c", "three", 30);
  assert.deepEqual(gone, ["a1"]);
  hold("b2", "two", 30);
  assert.deepEqual(gone, ["a1", "b"]);
});

it("an answer that is larger than all that may lie is broken off with what its address holds, and nothing else", () => {
  const { gone, hold } = holder();
  hold("b", "two", 50);
  hold("a", "one", 200)();
  assert.deepEqual(gone, ["a"]);
  hold("c", "two", 50);
  assert.deepEqual(gone, ["a"]);
});
