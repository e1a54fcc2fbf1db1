// Every operation with the worst possible input: what a validator refuses is refused, whatever else is wrong; the body of a caller without
// the permission is never read; and no body blocks the process's other work.
import assert from "node:assert/strict";
import { connect } from "node:net";
import { monitorEventLoopDelay } from "node:perf_hooks";
import { after, before, describe, it } from "node:test";
import { ApiError } from "@berth/api/errors";
import { MAX_BODY_BYTES } from "@berth/api/limits";
import type { Operation } from "@berth/api/operation";
import { OPERATIONS } from "@berth/api/operations";
import { isForAnonymous } from "@berth/api/permissions";
import { updateProject } from "@berth/api/projects";
import type { TObject } from "typebox";
import { Compile } from "typebox/compile";
import { addUser, basic, createTestClock, TEST_PASSWORD } from "../../access/access.testing.ts";
import { createSqliteForTest, type TestDatabase } from "../../platform/database/databases.testing.ts";
import { startTestApi, type TestApi } from "./api.testing.ts";
import { createRandom, placesOf, spoiled, validValue, worstBodies } from "./hostile-input.testing.ts";
import { MAX_PROBLEMS, type Problem } from "@berth/api/problem";
import { boundsOf, COMMON_BOUNDS, MAX_FIELDS, readJson } from "./read-json.ts";
import { createInputCheck, type RawInput } from "./validate.ts";

const seed = Number(process.env["BERTH_TEST_SEED"] ?? Date.now() % 2 ** 32);
/** An event loop that was blocked for this long did something quadratic: the shortest such time ever seen was 40 s. */
const STOOD_STILL_MS = 5_000;

const texts = (schema: TObject): Record<string, string> =>
  Object.fromEntries(Object.entries(validValue(schema) as object).map(([name, value]) => [name, String(value)]));

function validInput(operation: Operation): RawInput {
  return {
    params: texts(operation.params),
    query: texts(operation.query),
    body: operation.body === undefined ? undefined : validValue(operation.body),
  };
}

/** The problems that the check reports; undefined if it accepts the input. */
function problemsOf(check: (raw: RawInput) => unknown, raw: RawInput): readonly Problem[] | undefined {
  try {
    check(raw);
    return undefined;
  } catch (error) {
    assert.ok(error instanceof ApiError && error.code === "FIELD_INVALID", String(error));
    return error.detail as Problem[];
  }
}

describe("input", () => {
  it("is taken where it is right, by every operation", () => {
    for (const operation of OPERATIONS)
      assert.equal(problemsOf(createInputCheck(operation), validInput(operation)), undefined, operation.id);
  });

  it("is refused with unknown fields, however many, in every part of every operation", () => {
    for (const operation of OPERATIONS) {
      const check = createInputCheck(operation);
      const valid = validInput(operation);
      for (const count of [1, 2, 7, 8, 9, 30, 1000]) {
        const more = Object.fromEntries(Array.from({ length: count }, (_, index) => [`x${index}`, "1"]));
        for (const part of ["query", "body", "params"] as const) {
          const problems = problemsOf(check, { ...valid, [part]: { ...more, ...(valid[part] as object) } });
          assert.equal(problems?.length, Math.min(count, MAX_PROBLEMS), `${operation.id} ${part} ${count}`);
          assert.ok(problems.every(({ field, reason }) => field.startsWith(`${part}.x`) && reason === "is not a known field"));
        }
        // Other mistakes are still reported.
        for (const { at, around } of placesOf(operation)) {
          const body = JSON.parse(around("[[]]")) as unknown;
          if (at === "body" || operation.body === undefined) continue;
          assert.ok(
            problemsOf(check, { ...valid, body: { ...(body as object), ...more } }) !== undefined,
            `${operation.id} ${at} ${count}`,
          );
        }
      }
    }
  });

  it(`is refused wherever a validator refuses it, and never ends in another error (seed ${seed})`, () => {
    const random = createRandom(seed);
    let refused = 0;
    for (const operation of OPERATIONS) {
      const check = createInputCheck(operation);
      if (operation.body === undefined) continue;
      const validator = Compile(operation.body);
      const valid = validInput(operation);
      for (let round = 0; round < 2_000; round++) {
        const body = spoiled(valid.body, random);
        const problems = problemsOf(check, { ...valid, body });
        if (!validator.Check(body)) {
          refused++;
          assert.ok(problems !== undefined, `${operation.id} took ${JSON.stringify(body)}`);
          assert.ok(problems.length >= 1 && problems.length <= MAX_PROBLEMS);
          assert.ok(
            problems.every(({ reason }) => reason !== "is not valid"),
            `${operation.id} has no words for ${JSON.stringify(body)}`,
          );
        }
      }
    }
    assert.ok(refused > 1_000);
  });

  it("stands in an address once, as text, without characters that nobody sees", () => {
    for (const operation of OPERATIONS) {
      const check = createInputCheck(operation);
      const valid = validInput(operation);
      for (const part of ["query", "params"] as const) {
        for (const [name, value] of Object.entries(valid[part] as Record<string, string>)) {
          for (const bad of [[value, value], `${value}\0`, `${value}\n`, `${value}\x7f`, [], undefined, {}]) {
            const problems = problemsOf(check, { ...valid, [part]: { ...(valid[part] as object), [name]: bad } });
            assert.equal(problems?.[0]?.field, `${part}.${name}`, `${operation.id} ${JSON.stringify(bad)}`);
          }
        }
      }
      const { limit } = operation.query.properties;
      if (limit === undefined) continue;
      for (const bad of ["", " 1", "1 ", "1.0", "1e1", "0x1", "+1", "-1", "-2", "0", "201", "NaN", "Infinity", "true", "٣", "9".repeat(40)])
        assert.ok(problemsOf(check, { ...valid, query: { limit: bad } }) !== undefined, `${operation.id} limit=${bad}`);
    }
  });

  it("has texts that every database keeps", () => {
    const check = createInputCheck(updateProject);
    const take = (description: string) => check({ params: { project: "team" }, query: {}, body: { description } });
    for (const bad of ["a\0", "\ud800b", "\udc00"]) assert.throws(() => take(bad), { code: "FIELD_INVALID" });
    take("two\nlines 😀");
  });

  it("has a time only where there is such a day and hour", () => {
    const robot = OPERATIONS.find(({ id }) => id === "createRegistryRobot")!;
    const check = createInputCheck(robot);
    const valid = validInput(robot);
    const at = (expiresAt: unknown): boolean =>
      problemsOf(check, { ...valid, body: { ...(valid.body as object), expiresAt } }) === undefined;
    for (const good of [null, "2999-01-31T12:00:00Z", "2996-02-29T23:59:59.123456789+14:00", "2999-12-31T00:00:00-00:30"])
      assert.ok(at(good), String(good));
    for (const bad of [
      "",
      "2999",
      "2999-01-31",
      "2999-01-31 12:00:00Z",
      "2999-02-29T12:00:00Z",
      "2999-13-01T00:00:00Z",
      "2999-04-31T00:00:00Z",
    ])
      assert.ok(!at(bad), bad);
    for (const bad of [
      "2999-01-00T00:00:00Z",
      "2999-01-31T24:00:00Z",
      "2999-01-31T12:60:00Z",
      "2999-01-31T12:00:00",
      "2999-01-31T12:00:00Z\n",
      0,
    ])
      assert.ok(!at(bad), String(bad));
  });
});

describe("a JSON body", () => {
  const problemOf = (text: string): string => {
    try {
      readJson(Buffer.from(text), COMMON_BOUNDS);
      return "";
    } catch (error) {
      assert.ok(error instanceof ApiError);
      const [problem] = (error.detail ?? []) as Problem[];
      return problem === undefined ? error.code : `${problem.field} ${problem.reason}`;
    }
  };

  it("is what JSON.parse gives", () => {
    for (const text of ['{"a":[1,{"b":"]}\\",{[\\\\"},[]],"c":{"a":1},"d":""}', "[]", '"x"', "1", '{"":{"":0}}', " [ { } , [ ] ] "])
      assert.deepEqual(readJson(Buffer.from(text), COMMON_BOUNDS), JSON.parse(text));
    assert.equal(readJson(Buffer.alloc(0), COMMON_BOUNDS), undefined);
  });

  it("names each field once, however it is written, and is not deep, wide or long", () => {
    assert.equal(problemOf('{"a":1,"b":2,"a":3}'), "body.a is given twice");
    assert.equal(problemOf('{"s":[{},{"a":"a","\\u0061":3}]}'), "body.s.1.a is given twice");
    assert.equal(problemOf('{"__proto__":1,"__proto__":2}'), "body.__proto__ is given twice");
    assert.equal(problemOf('{"a":{"a":1},"b":{"a":1}}'), "");
    assert.equal(problemOf(`${"[".repeat(8)}${"]".repeat(8)}`), "");
    assert.match(problemOf(`${"[".repeat(9)}${"]".repeat(9)}`), / is more than 8 levels deep$/);
    assert.equal(problemOf(`[${"0,".repeat(255)}0]`), "");
    assert.equal(problemOf(`{"a":[${"0,".repeat(256)}0]}`), "body.a has more than 256 items");
    assert.equal(problemOf(`{${Array.from({ length: 33 }, (_, index) => `"${index}":0`).join()}}`), "body has more than 32 fields");
    assert.equal(problemOf(`{"a":"${"x".repeat(4097)}"}`), "body.a is longer than 4096 characters");
    assert.match(problemOf(`{"${"x".repeat(129)}":0}`), / has a name of more than 128 characters$/);
    for (const text of ["{", "nul", "[1,]", "{'a':1}", "\ufeff", "1 2", '{"a":1}x']) assert.equal(problemOf(text), "BODY_INVALID", text);
  });
});

it("a JSON body is not refused for a size that its operation's schema allows", () => {
  for (const { id, body } of OPERATIONS) {
    if (body === undefined) continue;
    let [longest, most] = [0, 0];
    const look = (schema: object): void => {
      const { maxLength = 0, maxItems = 0, properties = {} } = schema as { maxLength?: number; maxItems?: number; properties?: object };
      [longest, most] = [Math.max(longest, maxLength), Math.max(most, maxItems)];
      assert.ok(Object.keys(properties).length <= MAX_FIELDS, id);
      for (const part of Object.values(schema)) if (typeof part === "object" && part !== null) look(part as object);
    };
    look(body);
    const text = JSON.stringify({ a: "x".repeat(longest), b: "\u{1}".repeat(longest), c: Array(most).fill(0) });
    assert.deepEqual(readJson(Buffer.from(text), boundsOf(body)), JSON.parse(text), id);
  }
});

describe("hostile bodies over HTTP", () => {
  let test: TestDatabase;
  let api: TestApi;
  const pathOf = (operation: Operation): string =>
    `/api/v1${operation.path.replaceAll(/\{(\w+)\}/g, (_, name: string) => texts(operation.params)[name]!)}`;
  const changing = OPERATIONS.filter(({ method }) => method !== "GET");

  before(async () => {
    test = await createSqliteForTest();
    api = await startTestApi(test.database, createTestClock());
    await addUser(test.database, "admin", { isAdmin: true });
  });
  after(async () => {
    await api.end();
    await test.end();
  });

  it("of nobody in particular are not waited for", async () => {
    for (const operation of changing.filter(({ permission }) => !isForAnonymous(permission))) {
      for (const headers of [
        `content-length: ${MAX_BODY_BYTES}`,
        "transfer-encoding: chunked",
        `content-length: 9\r\nexpect: 100-continue`,
      ]) {
        const socket = connect(Number(new URL(api.origin).port), "127.0.0.1");
        socket.write(
          `${operation.method} ${pathOf(operation)} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n${headers}\r\n\r\n`,
        );
        // No byte of the body is sent: only a server that does not wait for it can answer.
        const head = await new Promise<string>((resolve) => {
          socket.once("data", (piece: Buffer) => resolve(piece.toString("latin1")));
        });
        socket.destroy();
        assert.match(head, /^HTTP\/1\.1 401 /, `${operation.id} ${headers}`);
      }
    }
  });

  it("of the largest size are refused in words, and the process does its other work meanwhile", async () => {
    const delay = monitorEventLoopDelay({ resolution: 10 });
    delay.enable();
    let count = 0;
    // Operations that share a schema share its check, and what is made of it.
    for (const operation of changing.filter(({ body }, at) => changing.findIndex((other) => other.body === body) === at)) {
      for (const [name, body] of worstBodies(operation)) {
        assert.ok(body.length <= MAX_BODY_BYTES);
        const response = await fetch(`${api.origin}${pathOf(operation)}`, {
          method: operation.method,
          headers: { authorization: basic("admin", TEST_PASSWORD), "content-type": "application/json" },
          body,
        });
        const answer = await response.text();
        assert.equal(response.status, 400, `${operation.id}: ${name}: ${answer.slice(0, 300)}`);
        assert.ok(answer.length < 4096, `${operation.id}: ${name}`);
        const [{ code, detail }] = (JSON.parse(answer) as { errors: [{ code: string; detail?: Problem[] }] }).errors;
        assert.ok(code === "BODY_INVALID" || (code === "FIELD_INVALID" && detail!.length >= 1 && detail!.length <= MAX_PROBLEMS), name);
        count++;
      }
    }
    delay.disable();
    console.log(`# ${count} bodies; the event loop was held up for ${Math.ceil(delay.max / 1e6)} ms at the most`);
    assert.ok(delay.max / 1e6 < STOOD_STILL_MS);
  });
});
