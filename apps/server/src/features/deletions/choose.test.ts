// What goes and what stays, by small worlds. Not here: finding what holds what (test/flows/deletions.test.ts).
import assert from "node:assert/strict";
import { it } from "node:test";
import fc from "fast-check";
import { type Candidate, chooseStays } from "./choose.ts";

const candidate = (digest: string, more: Partial<Candidate> = {}): Candidate => ({
  id: 0,
  digest,
  sizeBytes: 1,
  otherTag: undefined,
  parents: [],
  subject: undefined,
  isCrowded: false,
  ...more,
});

it("choose: what stays keeps its parts, and what is about it; what goes keeps nothing", () => {
  const stays = chooseStays([
    candidate("image"),
    candidate("signature", { subject: "image" }),
    candidate("index", { otherTag: "v1" }),
    candidate("part", { parents: ["index", "image"] }),
    candidate("sbom", { subject: "part" }),
    candidate("part of another", { parents: ["elsewhere"] }),
    candidate("about another", { subject: "elsewhere" }),
    candidate("crowded", { isCrowded: true }),
  ]);
  assert.deepEqual(Object.fromEntries(stays), {
    index: { because: "tagged", of: "v1" },
    part: { because: "in-index", of: "index" },
    sbom: { because: "attached", of: "part" },
    "part of another": { because: "in-index", of: "elsewhere" },
    "about another": { because: "attached", of: "elsewhere" },
    crowded: { because: "too-many", of: "crowded" },
  });
});

it("choose: rings of manifests that hold each other go together", () => {
  assert.equal(chooseStays([candidate("a", { parents: ["b"] }), candidate("b", { parents: ["a"] })]).size, 0);
});

it("choose: nothing that goes is held by what stays, whatever the world", () => {
  const digests = ["a", "b", "c", "d", "e", "f"];
  const one = fc.constantFrom(...digests, "elsewhere");
  const world = fc.uniqueArray(
    fc.record({
      digest: fc.constantFrom(...digests),
      parents: fc.array(one, { maxLength: 3 }),
      subject: fc.option(one, { nil: undefined }),
    }),
    { selector: ({ digest }) => digest },
  );
  fc.assert(
    fc.property(world, (candidates) => {
      const stays = chooseStays(candidates.map(({ digest, ...more }) => candidate(digest, more)));
      const chosen = new Set(candidates.map(({ digest }) => digest));
      for (const { digest, parents, subject } of candidates) {
        const holders = [...parents, ...(subject === undefined ? [] : [subject])];
        const isHeld = holders.some((each) => !chosen.has(each) || stays.has(each));
        assert.equal(stays.has(digest), isHeld, JSON.stringify(candidates));
      }
    }),
  );
});
