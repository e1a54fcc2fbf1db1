// What conditions demand of claims, and how wide rules are. Not here: genuine tokens (token-exchange.test.ts), rules over HTTP (test/flows).
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { anchorOf, anchorsOf, fits, isPattern, judge, listClaims, meets, meetsAll, type Condition } from "./trust-rules.ts";

const KUBERNETES = {
  sub: "system:serviceaccount:builds:pusher",
  "kubernetes.io": { namespace: "builds", serviceaccount: { name: "pusher", uid: "14ee" } },
};

describe("conditions of trust rules", () => {
  const cases: [string, Condition, Readonly<Record<string, unknown>>, boolean][] = [
    ["the same text", { claim: "ref", equals: "refs/heads/main" }, { ref: "refs/heads/main" }, true],
    ["another text", { claim: "ref", equals: "refs/heads/main" }, { ref: "refs/heads/maine" }, false],
    ["another case", { claim: "ref", equals: "refs/heads/main" }, { ref: "refs/heads/MAIN" }, false],
    ["a claim that is not there", { claim: "ref", equals: "refs/heads/main" }, {}, false],
    ["null", { claim: "ref", equals: "null" }, { ref: null }, false],
    ["a number", { claim: "project_id", equals: "20" }, { project_id: 20 }, true],
    ["a number that is another one", { claim: "project_id", equals: "20" }, { project_id: 20.5 }, false],
    ["a number too large to be exact", { claim: "project_id", equals: "9007199254740993" }, { project_id: 9007199254740992 }, false],
    ["a truth value", { claim: "ref_protected", equals: "true" }, { ref_protected: true }, true],
    ["the text of a truth value", { claim: "ref_protected", equals: "true" }, { ref_protected: "true" }, true],
    ["a list that has it", { claim: "groups", equals: "dev" }, { groups: ["ops", "dev"] }, true],
    ["a list that has it not", { claim: "groups", equals: "dev" }, { groups: ["devs"] }, false],
    ["a list in a list", { claim: "groups", equals: "dev" }, { groups: [["dev"]] }, false],
    ["an object", { claim: "groups", equals: "[object Object]" }, { groups: {} }, false],
    ["one of some", { claim: "environment", oneOf: ["test", "prod"] }, { environment: "prod" }, true],
    ["none of some", { claim: "environment", oneOf: ["test", "prod"] }, { environment: "production" }, false],
    ["a path", { claim: "/kubernetes.io/serviceaccount/uid", equals: "14ee" }, KUBERNETES, true],
    ["a path that ends too early", { claim: "/kubernetes.io/serviceaccount", equals: "14ee" }, KUBERNETES, false],
    ["a path as a name", { claim: "kubernetes.io/namespace", equals: "builds" }, KUBERNETES, false],
    ["a name with a slash", { claim: "https://example.com/team", equals: "a" }, { "https://example.com/team": "a" }, true],
    ["a path with an escaped slash", { claim: "/a~1b/c", equals: "x" }, { "a/b": { c: "x" } }, true],
    ["what every object has", { claim: "constructor", matches: "function**" }, {}, false],
    ["what every object has, in a path", { claim: "/kubernetes.io/__proto__/constructor", matches: "f**" }, KUBERNETES, false],
    ["a list by its index", { claim: "/groups/0", equals: "dev" }, { groups: ["dev"] }, false],
    ["a value that is too long", { claim: "ref", matches: "a**" }, { ref: "a".repeat(1025) }, false],
    ["a condition that demands nothing", { claim: "ref" }, { ref: "x" }, false],
  ];
  for (const [name, condition, claims, expected] of cases) {
    it(`${expected ? "take" : "refuse"} ${name}`, () => assert.equal(meets(claims, condition), expected));
  }

  it("must all be met, and a rule without any is met by nothing", () => {
    const claims = { a: "1", b: "2" };
    assert.equal(
      meetsAll(claims, [
        { claim: "a", equals: "1" },
        { claim: "b", equals: "2" },
      ]),
      true,
    );
    assert.equal(
      meetsAll(claims, [
        { claim: "a", equals: "1" },
        { claim: "b", equals: "3" },
      ]),
      false,
    );
    assert.equal(meetsAll(claims, []), false);
  });
});

describe("patterns of trust rules", () => {
  const cases: [string, string, boolean][] = [
    ["refs/heads/release-*", "refs/heads/release-1.2", true],
    ["refs/heads/release-*", "refs/heads/release-", true],
    ["refs/heads/release-*", "refs/heads/release-1/evil", false],
    ["refs/heads/release-*", "xrefs/heads/release-1", false],
    ["refs/heads/release-*", "refs/heads/main", false],
    ["refs/heads/release-*-end", "refs/heads/release-1-end", true],
    ["refs/heads/release-*-end", "refs/heads/release-1-end2", false],
    ["refs/heads/**", "refs/heads/a/b:c", true],
    ["repo:octo-org/*:ref:refs/heads/main", "repo:octo-org/app:ref:refs/heads/main", true],
    // A name cannot bring colons along and so end the pattern early.
    ["repo:octo-org/*:ref:refs/heads/main", "repo:octo-org/app:environment:x:ref:refs/heads/main", false],
    ["a.c", "abc", false],
    ["a.c", "a.c", true],
    ["a[b]*", "a[b]c", true],
    ["a+*", "aaa", false],
    ["ü*", "über", true],
    ["a*", "", false],
  ];
  for (const [pattern, value, expected] of cases)
    it(`${pattern} ${expected ? "fits" : "does not fit"} ${value}`, () => assert.equal(fits(pattern, value), expected));

  it("are anchored at their beginning", () => {
    for (const text of ["*", "**", "*abc", "a***"]) assert.equal(isPattern(text), false, text);
    for (const text of ["a", "a*", "a**b*"]) assert.equal(isPattern(text), true, text);
  });

  it("take steps by both lengths, whatever is in them", () => {
    // A search that goes back would not end with these.
    const pattern = `a${"**a".repeat(80)}b`;
    assert.equal(fits(pattern, "a".repeat(1024)), false);
  });
});

describe("the width of trust rules", () => {
  const GITHUB = "https://token.actions.githubusercontent.com";
  const OTHER = "https://issuer.example.com";
  const cases: [string, string, Condition[], string[]][] = [
    [
      "a repository's number and a branch",
      GITHUB,
      [
        { claim: "repository_id", equals: "74" },
        { claim: "ref", equals: "refs/heads/main" },
      ],
      [],
    ],
    ["a repository's number alone", GITHUB, [{ claim: "repository_id", equals: "74" }], ["any-branch hint"]],
    [
      "several repositories' numbers",
      GITHUB,
      [
        { claim: "repository_id", oneOf: ["74", "75"] },
        { claim: "environment", equals: "prod" },
      ],
      [],
    ],
    ["a repository's number by a pattern", GITHUB, [{ claim: "repository_id", matches: "7*" }], ["identity-by-pattern wide"]],
    ["an owner's number", GITHUB, [{ claim: "repository_owner_id", equals: "65" }], ["whole-owner wide"]],
    ["a repository's name", GITHUB, [{ claim: "repository", equals: "octo-org/app" }], ["names-can-change wide"]],
    [
      "GitHub's subject, which has names in it",
      GITHUB,
      [{ claim: "sub", equals: "repo:octo-org/app:ref:refs/heads/main" }],
      ["names-can-change wide"],
    ],
    ["a subject by a pattern", GITHUB, [{ claim: "sub", matches: "repo:octo-org/**" }], ["identity-by-pattern wide"]],
    ["a branch of anybody", GITHUB, [{ claim: "ref", equals: "refs/heads/main" }], ["identifies-nobody refused"]],
    [
      "a branch of anybody, with a slash behind the issuer",
      `${GITHUB}/`,
      [{ claim: "ref", equals: "refs/heads/main" }],
      ["identifies-nobody refused"],
    ],
    ["a branch of everybody of one's own issuer", OTHER, [{ claim: "ref", equals: "refs/heads/main" }], ["identifies-nobody wide"]],
    ["a subject", OTHER, [{ claim: "sub", equals: "job-17" }], []],
    [
      "a GitLab project and its protected branches",
      OTHER,
      [
        { claim: "project_id", equals: "20" },
        { claim: "ref_protected", equals: "true" },
      ],
      [],
    ],
    ["a GitLab namespace", OTHER, [{ claim: "namespace_id", equals: "72" }], ["whole-owner wide"]],
    ["a service account's uid", OTHER, [{ claim: "/kubernetes.io/serviceaccount/uid", equals: "14ee" }], []],
    [
      "a service account of a namespace",
      OTHER,
      [
        { claim: "/kubernetes.io/namespace", equals: "builds" },
        { claim: "/kubernetes.io/serviceaccount/name", equals: "pusher" },
      ],
      [],
    ],
    ["all of a Kubernetes namespace", OTHER, [{ claim: "/kubernetes.io/namespace", equals: "builds" }], ["whole-owner wide"]],
    ["a name of any namespace", OTHER, [{ claim: "/kubernetes.io/serviceaccount/name", equals: "default" }], ["identifies-nobody wide"]],
    ["an address of mail", OTHER, [{ claim: "email", equals: "a@example.com" }], ["names-can-change wide"]],
  ];
  for (const [name, issuer, conditions, expected] of cases) {
    it(`is seen of ${name}`, () => {
      assert.deepEqual(
        judge(issuer, conditions).map(({ code, weight }) => `${code} ${weight}`),
        expected,
      );
    });
  }
});

describe("anchors of trust rules", () => {
  it("are found by each token that meets the rule", () => {
    const rules: Condition[][] = [
      [
        { claim: "ref", equals: "refs/heads/main" },
        { claim: "repository_id", equals: "74" },
      ],
      [{ claim: "/kubernetes.io/serviceaccount/uid", equals: "14ee" }],
      [{ claim: "groups", equals: "dev" }],
      [{ claim: "project_id", equals: "20" }],
    ];
    const claims = { ref: "refs/heads/main", repository_id: "74", ...KUBERNETES, groups: ["ops", "dev"], project_id: 20 };
    const found = anchorsOf(claims);
    for (const rule of rules) {
      assert.ok(meetsAll(claims, rule));
      assert.ok(found.includes(anchorOf(rule)!), anchorOf(rule)!);
    }
    assert.equal(anchorOf(rules[0]!), "repository_id=74", "the most telling one");
    assert.equal(
      anchorOf([
        { claim: "ref", matches: "refs/**" },
        { claim: "environment", oneOf: ["a", "b"] },
      ]),
      null,
    );
  });

  it("of a token that is large or hostile are few, and are text", () => {
    const many = Object.fromEntries(Array.from({ length: 5000 }, (_, i) => [`claim-${i}`, "x"]));
    assert.ok(anchorsOf(many).length <= 200);
    assert.deepEqual(anchorsOf({ a: "x\0y", b: "\ud800", "/c": "x", d: { e: { f: { g: { h: "too deep" } } } } }), []);
    let deep: Record<string, unknown> = {};
    for (let i = 0; i < 10_000; i++) deep = { deep };
    assert.deepEqual(listClaims(deep), []);
  });
});
