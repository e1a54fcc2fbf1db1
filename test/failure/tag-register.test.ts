// The check of tags' histories finds errors in wrong ones, and none in right ones. Not here: histories of servers (tag-histories.test.ts).
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { createRandom, type Random } from "../../apps/server/src/content/schedule.testing.ts";
import type { Operation } from "./linearizability.ts";
import { findFault, type Demand, type Named, type TagOperation } from "./tag-register.ts";

type Timed = readonly [calledAt: number, answeredAt: number | undefined, what: TagOperation];

const put = (digest: string, demand?: Demand): TagOperation => ({ kind: "put", digest, demand, answer: "stored" });
const refused = (digest: string, found: Named, demand: Demand): TagOperation => ({ kind: "put", digest, demand, answer: { found } });
const lostPut = (digest: string, demand?: Demand): TagOperation => ({ kind: "put", digest, demand, answer: undefined });
const deletionOn = (demand: Demand): TagOperation => ({ kind: "delete", demand, answer: "deleted" });
const refusedDeletion = (found: Named, demand: Demand): TagOperation => ({ kind: "delete", demand, answer: { found } });
const lostDeletionOn = (demand: Demand): TagOperation => ({ kind: "delete", demand, answer: undefined });
const deletion = deletionOn(undefined);
const vainDeletion: TagOperation = { kind: "delete", demand: undefined, answer: "absent" };
const lostDeletion = lostDeletionOn(undefined);
const read = (found: Named): TagOperation => ({ kind: "read", answer: { found } });
const match = (digest: string): Demand => ({ header: "if-match", digest });
const noneMatch = (digest: string): Demand => ({ header: "if-none-match", digest });

const faultOf = (changes: readonly Named[], ...operations: readonly Timed[]): string | undefined =>
  findFault(
    operations.map(([calledAt, answeredAt, what]) => ({ calledAt, answeredAt, what })),
    changes,
  );

describe("the check of a tag's history", () => {
  const right: Readonly<Record<string, readonly [readonly Named[], ...Timed[]]>> = {
    nothing: [[]],
    "one after the other": [
      ["a", "b", null],
      [1, 2, read(null)],
      [3, 4, put("a")],
      [5, 6, put("b")],
      [7, 8, read("b")],
      [9, 10, deletion],
      [11, 12, read(null)],
    ],
    "a read beside a put that saw it, and one that did not": [["a"], [1, 6, put("a")], [2, 3, read(null)], [4, 5, read("a")]],
    "two puts at once, in either order": [
      ["b", "a"],
      [1, 4, put("a")],
      [2, 3, put("b")],
      [5, 6, read("a")],
    ],
    "a put without an answer that was seen": [["a"], [1, undefined, lostPut("a")], [2, 3, read("a")]],
    "a put without an answer that never happened": [[], [1, undefined, lostPut("a")], [2, 3, read(null)]],
    "a put without an answer that happened late": [
      ["b", "a"],
      [1, undefined, lostPut("a")],
      [2, 3, read(null)],
      [4, 5, put("b")],
      [6, 7, read("b")],
      [8, 9, read("a")],
    ],
    "a put without an answer that happened after everything": [
      ["b", "a"],
      [1, undefined, lostPut("a")],
      [2, 3, put("b")],
      [4, 5, read("b")],
    ],
    "a deletion without an answer": [
      ["a", null],
      [1, 2, put("a")],
      [3, undefined, lostDeletion],
      [4, 5, read("a")],
      [6, 7, read(null)],
    ],
    "a conditional put without an answer whose condition never held": [
      ["b"],
      [1, 2, put("b")],
      [3, undefined, lostPut("a", noneMatch("*"))],
      [4, 5, read("b")],
    ],
    "conditions that are met and refused": [
      ["a", "b"],
      [1, 2, put("a", noneMatch("*"))],
      [3, 4, refused("b", "a", noneMatch("*"))],
      [5, 6, put("b", match("a"))],
      [7, 8, refused("c", "b", match("a"))],
    ],
    "deletions whose conditions are met and refused": [
      ["a", "b", null],
      [1, 2, put("a")],
      [3, 4, refusedDeletion("a", match("z"))],
      [5, 6, put("b")],
      [7, 8, refusedDeletion("b", noneMatch("b"))],
      [9, 10, deletionOn(match("b"))],
      [11, 12, { kind: "delete", demand: match("b"), answer: "absent" }],
    ],
    "a conditional deletion without an answer whose condition never held": [
      ["a"],
      [1, 2, put("a")],
      [3, undefined, lostDeletionOn(match("z"))],
      [4, 5, read("a")],
    ],
    "the same put twice": [["a"], [1, 2, put("a")], [3, 4, put("a")], [5, 6, read("a")]],
  };
  for (const [name, [changes, ...operations]] of Object.entries(right)) {
    it(`passes ${name}`, () => assert.equal(faultOf(changes, ...operations), undefined));
  }

  const wrong: Readonly<Record<string, readonly [RegExp, readonly Named[], ...Timed[]]>> = {
    "a stale read": [/answers.*! 5-6 read: found a/s, ["a", "b"], [1, 2, put("a")], [3, 4, put("b")], [5, 6, read("a")]],
    "a read of absence after a put": [/answers/, ["a"], [1, 2, put("a")], [3, 4, read(null)]],
    "two reads that see two puts in two orders": [
      /answers/,
      ["a", "b"],
      [1, 9, put("a")],
      [2, 10, put("b")],
      [3, 4, read("a")],
      [5, 6, read("b")],
      [7, 8, read("a")],
    ],
    "a read of what was never put": [/answers/, ["a"], [1, 2, put("a")], [3, 4, read("z")]],
    "a read from before its put": [/answers/, ["a"], [1, 2, read("a")], [3, 4, put("a")]],
    "a deletion that took what its condition did not name": [
      /answers.*! 5-6 delete if-match a: deleted/s,
      ["a", "b", null],
      [1, 2, put("a")],
      [3, 4, put("b")],
      [5, 6, deletionOn(match("a"))],
    ],
    "a deletion and a put that both found what they demanded": [
      /answers/,
      ["a", "b", null],
      [1, 2, put("a")],
      [3, 5, put("b", match("a"))],
      [4, 6, deletionOn(match("a"))],
    ],
    "a refused deletion that names what the tag did not name": [
      /answers/,
      ["a"],
      [1, 2, put("a")],
      [3, 4, refusedDeletion("b", match("z"))],
    ],
    "a refused deletion whose condition held": [/answers/, ["a"], [1, 2, put("a")], [3, 4, refusedDeletion("a", match("a"))]],
    "a refused deletion that happened": [
      /answers/,
      ["a", null],
      [1, 2, put("a")],
      [3, 4, refusedDeletion("a", match("z"))],
      [5, 6, read(null)],
    ],
    "a lost update": [/answers/, ["a", "b", "c"], [1, 2, put("a")], [3, 6, put("b", match("a"))], [4, 7, put("c", match("a"))]],
    "two that both found the tag absent": [/answers/, ["a", "b"], [1, 3, put("a", noneMatch("*"))], [2, 4, put("b", noneMatch("*"))]],
    "a read from a put that was refused": [
      /answers/,
      ["a"],
      [1, 2, put("a")],
      [3, 4, refused("b", "a", noneMatch("*"))],
      [5, 6, read("b")],
    ],
    "a refusal that names what the tag did not name": [/answers/, ["a"], [1, 2, put("a")], [3, 4, refused("b", null, match("a"))]],
    "a tag that rose again": [/answers/, ["a", null], [1, 2, put("a")], [3, 4, deletion], [5, 6, read("a")]],
    "a put without an answer that happened twice": [
      /answers/,
      ["a", null, "a"],
      [1, undefined, lostPut("a")],
      [2, 3, read("a")],
      [4, 5, deletion],
      [6, 7, read(null)],
      [8, 9, read("a")],
    ],
    "a put without an answer that was undone": [/answers/, ["a"], [1, undefined, lostPut("a")], [2, 3, read("a")], [4, 5, read(null)]],
    "a put without an answer that was seen before its call": [/answers/, ["a"], [1, 2, read("a")], [3, undefined, lostPut("a")]],
    "two deletions of one tag": [/answers/, ["a", null], [1, 2, put("a")], [3, 5, deletion], [4, 6, deletion]],
    "a deletion that found nothing to delete": [/answers/, ["a"], [1, 2, put("a")], [3, 4, vainDeletion]],
    "an acknowledged put without its tag": [
      /answers/,
      ["b", null, "a"],
      [1, 6, put("a")],
      [2, 3, put("b")],
      [4, 5, deletion],
      [7, 8, read(null)],
    ],
    "a history that lacks a change": [/history does not fit/, ["b"], [1, 2, put("a")], [3, 4, put("b")]],
    "a history with a change that nobody made": [/history does not fit/, ["a", "z", "b"], [1, 2, put("a")], [3, 4, put("b")]],
    "a history in another order": [/history does not fit/, ["b", "a"], [1, 2, put("a")], [3, 4, put("b")]],
    "a history in another order than a reader saw": [
      /history does not fit/,
      ["b", "a"],
      [1, 5, put("a")],
      [2, 8, put("b")],
      [3, 4, read("a")],
      [6, 7, read("b")],
    ],
    "a history that goes on": [/history does not fit.*the end/s, ["a", null], [1, 2, put("a")], [3, 4, read("a")]],
    "a history that says the same twice": [/changes nothing at its entry 1/, ["a", "a"], [1, 2, put("a")], [3, 4, put("a")]],
    "a history that begins with a deletion": [/changes nothing at its entry 0/, [null, "a"], [1, 2, put("a")]],
  };
  for (const [name, [message, changes, ...operations]] of Object.entries(wrong)) {
    it(`finds ${name}`, () => assert.match(faultOf(changes, ...operations) ?? "nothing", message));
  }

  it("passes whatever a register that works answers, and finds each answer that is then changed to one that no order allows", () => {
    const seed = Number(process.env["BERTH_TEST_SEED"] ?? 1);
    const random = createRandom(seed);
    let found = 0;
    for (let i = 0; i < 300; i++) {
      const { operations, changes } = simulate(random);
      assert.equal(findFault(operations, changes), undefined, `seed ${seed}, history ${i}`);
      // A read with a digest that nobody put is always wrong; so is one that an exhaustive search for an order forbids.
      const at = random.below(operations.length);
      const changed = operations.with(at, {
        ...operations[at]!,
        what: read(`d${random.below(6)}`),
        answeredAt: operations[at]!.answeredAt ?? 1e9,
      });
      const isExplained = hasOrder(changed, null);
      const fault = findFault(changed, changes);
      if (!isExplained) {
        found++;
        assert.notEqual(fault, undefined, `seed ${seed}, history ${i}: a wrong answer was not found`);
      } else assert.doesNotMatch(fault ?? "", /the answers allow no order/, `seed ${seed}, history ${i}: a right history was refused`);
    }
    assert.ok(found > 100, `${found} histories were wrong`);
  });
});

/** Some clients on a correct register: each operation happens at a moment between its call and its answer; some answers are lost. */
function simulate(random: Random): { operations: Operation<TagOperation>[]; changes: Named[] } {
  const operations: Operation<TagOperation>[] = [];
  const changes: Named[] = [];
  let named: Named = null;
  let time = 0;
  let puts = 0;
  const set = (next: Named): void => {
    if (next !== named) changes.push(next);
    named = next;
  };
  interface Running {
    readonly calledAt: number;
    readonly happen: () => (isLost: boolean) => TagOperation;
    done: ((isLost: boolean) => TagOperation) | undefined;
  }
  const running: Running[] = [];
  const begin = (): Running => {
    const kind = random.below(5);
    const calledAt = ++time;
    const happen = (): ((isLost: boolean) => TagOperation) => {
      const found = named;
      if (kind === 0) return () => read(found);
      if (kind === 1) {
        set(null);
        return (isLost) => (isLost ? lostDeletion : found === null ? vainDeletion : deletion);
      }
      const digest = `d${puts++ % 6}`;
      const demand = [undefined, noneMatch("*"), match(`d${random.below(6)}`)][kind - 2];
      const isStored = demand === undefined || (demand.header === "if-match" ? found === demand.digest : found === null);
      if (isStored) set(digest);
      return (isLost) => (isLost ? lostPut(digest, demand) : isStored ? put(digest, demand) : refused(digest, found, demand));
    };
    return { calledAt, happen, done: undefined };
  };
  for (let left = 10; left > 0 || running.length > 0;) {
    const choice = random.below(3);
    if (choice === 0 && left > 0 && running.length < 4) {
      running.push(begin());
      left--;
    } else if (running.length > 0) {
      const each = running[random.below(running.length)]!;
      if (each.done === undefined) each.done = each.happen();
      else {
        running.splice(running.indexOf(each), 1);
        const what = each.done(random.below(8) === 0);
        operations.push({ calledAt: each.calledAt, answeredAt: what.answer === undefined ? undefined : ++time, what });
      }
    }
  }
  return { operations, changes };
}

/** The simplest form of the same check: tries every order of the remaining operations. */
function hasOrder(left: readonly Operation<TagOperation>[], named: Named): boolean {
  if (left.every(({ answeredAt }) => answeredAt === undefined)) return true;
  const firstAnswer = Math.min(...left.map(({ answeredAt }) => answeredAt ?? Infinity));
  return left.some((operation, at) => {
    if (operation.calledAt > firstAnswer) return false;
    const rest = left.toSpliced(at, 1);
    const { what } = operation;
    switch (what.kind) {
      case "read":
        return what.answer.found === named && hasOrder(rest, named);
      case "delete":
        return (what.answer === undefined || (what.answer === "deleted") === (named !== null)) && hasOrder(rest, null);
      case "put": {
        const { demand, answer, digest } = what;
        const isThere = named !== null && (demand?.digest === "*" || demand?.digest === named);
        const isStored = demand === undefined || isThere === (demand.header === "if-match");
        if (answer === undefined) return hasOrder(rest, isStored ? digest : named);
        if (answer === "stored") return isStored && hasOrder(rest, digest);
        return !isStored && answer.found === named && hasOrder(rest, named);
      }
    }
  });
}
