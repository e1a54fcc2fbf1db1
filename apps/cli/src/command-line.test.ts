// The command line: verbs, words, options, and messages about wrong ones; every operation has a verb; help and completion cover all.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { describe, it } from "node:test";
import { OPERATIONS } from "@berth/api/operations";
import { chooseOperation, fill } from "./call.ts";
import { parseCommandLine } from "./command-line.ts";
import { completionScript, SHELLS } from "./completion.ts";
import { helpOn } from "./help.ts";
import { Misuse } from "./misuse.ts";
import { type CallVerb, COMMON_OPTIONS, isCall, optionsOf } from "./verb.ts";
import { VERBS } from "./verbs/verbs.ts";

/** Operations that no verb calls, each with the reason. */
const WITHOUT_VERB: Readonly<Record<string, string>> = {
  createSession: "a browser signs in by it: programs have tokens",
  endSession: "the browser's own",
};

const NOW = Date.parse("2026-01-01T00:00:00Z");

function filled(...args: string[]): { id: string; params: unknown; query: unknown; body: unknown } {
  const line = parseCommandLine(args, VERBS);
  assert.ok("verb" in line && isCall(line.verb));
  const { params, query, body } = fill(line.verb, line.given, NOW);
  return { id: chooseOperation(line.verb, { params, query, body }).id, params, query, body };
}

describe("the table of verbs", () => {
  it("has every operation, or says why not", () => {
    const called = new Set(VERBS.flatMap(({ operations }) => operations.map(({ id }) => id)));
    assert.deepEqual(
      OPERATIONS.map(({ id }) => id).filter((id) => !called.has(id) && !Object.hasOwn(WITHOUT_VERB, id)),
      [],
    );
    assert.deepEqual(
      Object.keys(WITHOUT_VERB).filter((id) => called.has(id)),
      [],
    );
  });

  it("fits its operations: each place of a word and an option is one of the operation's fields", () => {
    for (const verb of VERBS.filter(isCall)) {
      for (const operation of verb.operations) {
        const fieldsOf = (place: "params" | "query" | "body"): string[] => {
          const schema: { readonly properties?: object } | undefined = operation[place];
          return Object.keys(schema?.properties ?? {});
        };
        for (const { into } of [...verb.options, ...verb.arguments]) {
          if (into === undefined) continue;
          const [place, name] = into.split(".") as ["params" | "query" | "body", string];
          // The second of two operations may lack a parameter of the first, which decides between them.
          assert.ok(fieldsOf(place).includes(name) || (place === "params" && operation !== verb.operations[0]), `${verb.words}: ${into}`);
        }
      }
    }
  });

  it("has no two verbs of the same words, and no two options of the same name", () => {
    assert.equal(new Set(VERBS.map(({ words }) => words)).size, VERBS.length);
    for (const verb of VERBS) {
      const names = [...optionsOf(verb), ...COMMON_OPTIONS].map(({ name }) => name);
      assert.equal(new Set(names).size, names.length, verb.words);
    }
  });

  it("has a question for each verb that deletes", () => {
    const silent = VERBS.filter(isCall).filter(
      (verb: CallVerb) => verb.operations.some(({ method }) => method === "DELETE") && verb.destroys === undefined,
    );
    assert.deepEqual(silent, []);
  });
});

describe("berth command line", () => {
  it("puts words and options where the operation wants them", () => {
    assert.deepEqual(filled("project", "create", "team", "--visibility=public"), {
      id: "createProject",
      params: {},
      query: {},
      body: { name: "team", visibility: "public" },
    });
    assert.deepEqual(filled("tag", "list", "team/a/b", "--prefix", "v"), {
      id: "listTags",
      params: { project: "team", repository: "a/b" },
      query: { prefix: "v" },
      body: {},
    });
    assert.deepEqual(filled("manifest", "show", "team/app:v1").params, { project: "team", repository: "app", reference: "v1" });
    assert.deepEqual(filled("manifest", "delete", "team/app@sha256:00").params, {
      project: "team",
      repository: "app",
      reference: "sha256:00",
    });
    assert.deepEqual(filled("manifest", "list", "team/app", "--untagged").query, { isTagged: false });
    assert.equal(filled("robot", "list").id, "listRegistryRobots");
    assert.equal(filled("robot", "list", "team").id, "listProjectRobots");
    assert.deepEqual(filled("robot", "show", "+ci"), { id: "getRegistryRobot", params: { robot: "ci" }, query: {}, body: {} });
    assert.deepEqual(filled("robot", "create", "team+ci", "--scope", "team/**:pull,push", "--scope", "team/x:delete", "--expires", "2d"), {
      id: "createProjectRobot",
      params: { project: "team" },
      query: {},
      body: {
        name: "ci",
        scopes: [
          { repositories: "team/**", actions: ["pull", "push"] },
          { repositories: "team/x", actions: ["delete"] },
        ],
        expiresAt: "2026-01-03T00:00:00.000Z",
      },
    });
    assert.deepEqual(filled("user", "create", "ada", "--no-password").body, { name: "ada", password: null });
  });

  for (const [args, problem] of [
    [["projct", "list"], /no verb projct; did you mean project\?/],
    [["project", "lst"], /did you mean list\?/],
    [["project"], /wants one of list, show/],
    [["--output", "json", "project", "list"], /the verb comes first/],
    [["project", "show"], /needs PROJECT/],
    [["project", "show", "a", "b"], /does not take b/],
    [["project", "show", ""], /an argument is empty/],
    [["project", "list", "--outptu", "json"], /no option --outptu; did you mean output\?/],
    [["project", "list", "-o", "xml"], /one of table, wide, json, yaml/],
    [["member", "set", "team", "ada", "--role", "ower"], /did you mean owner\?/],
    [["member", "set", "team", "ada"], /needs --role/],
    [["manifest", "list", "team/app", "--tagged", "--untagged"], /different things of isTagged/],
    [["tag", "list", "app"], /no repository/],
    [["tag", "list", "team/app:v1"], /names an image/],
    [["tag", "list", "registry.example.com/team/app"], /begins with a registry/],
    [["tag", "delete", "team/app"], /names no tag/],
    [["tag", "delete", "team/app@sha256:00"], /names a digest/],
    [["manifest", "delete", "team/app:v1"], /names no digest/],
    [["robot", "show", "ci"], /PROJECT\+NAME/],
    [["robot", "create", "team+ci", "--scope", "team/**"], /no scope/],
    [["robot", "create", "team+ci", "--scope", "a/b:pull", "--expires", "soon"], /no time/],
    [["help", "nothing"], /no verb nothing/],
  ] as const) {
    it(`refuses berth ${args.join(" ")}`, () => {
      assert.throws(
        () => filled(...args),
        (error) => error instanceof Misuse && problem.test(error.message),
      );
    });
  }

  it("has help for each verb and each group", () => {
    for (const verb of VERBS) {
      const line = parseCommandLine([...verb.words.split(" "), "--help"], VERBS);
      assert.ok("help" in line);
      const text = helpOn(line.help, VERBS);
      for (const { name } of [...optionsOf(verb), ...COMMON_OPTIONS]) assert.match(text, new RegExp(`--${name}\\b`), verb.words);
      assert.match(helpOn(verb.words.split(" ").slice(0, -1), VERBS), new RegExp(`^  ${verb.words} `, "m"));
    }
  });
});

describe("berth completion", () => {
  const complete = (...words: string[]): string[] => {
    const script = `${completionScript("bash", VERBS)}COMP_WORDS=("$@"); COMP_CWORD=$(($#-1)); _berth; printf '%s\\n' "\${COMPREPLY[@]}"`;
    const { stdout, stderr, status } = spawnSync("bash", ["-c", script, "bash", "berth", ...words], { encoding: "utf8" });
    assert.equal(status, 0, stderr);
    return stdout.split("\n").filter((line) => line !== "");
  };

  it("bash: completes verbs, options and their values", () => {
    assert.deepEqual(complete("pro"), ["project"]);
    assert.deepEqual(complete("project", "sh"), ["show"]);
    assert.deepEqual(complete("project", "create", "team", "--v"), ["--visibility"]);
    assert.deepEqual(complete("project", "create", "team", "--visibility", "pu"), ["public"]);
    assert.deepEqual(complete("whoami", "-o", "j"), ["json"]);
    assert.deepEqual(complete("completion", "f"), ["fish"]);
    assert.deepEqual(complete("member", "set", "team", "ada", "--role", ""), ["guest", "developer", "maintainer", "owner"]);
  });

  for (const shell of SHELLS) {
    const isThere = spawnSync(shell, ["-c", "exit 0"]).status === 0;
    it(`${shell}: its script is one`, { skip: isThere ? false : `cannot run here: ${shell} is not installed` }, () => {
      const { status, stderr } = spawnSync(shell, ["-n"], { input: completionScript(shell, VERBS), encoding: "utf8" });
      assert.equal(status, 0, stderr);
    });
  }
});
