// Runs tests on a registry whose project `hub` mirrors another one: with both upstreams of upstreams.testing.ts, on both databases. Not here: the
// upstreams, the tests (upstream.test.ts, upstream-blobs.test.ts).
import { after, before, beforeEach, describe, type TestContext } from "node:test";
import { RegistryError } from "../../packages/oci/src/errors.ts";
import { putProjectTrait, type ProjectTrait } from "../../apps/server/src/access/project-traits.ts";
import type { FeaturePorts } from "../../apps/server/src/compose/ports.ts";
import type { Database } from "../../apps/server/src/platform/database/database.ts";
import { statement } from "../../apps/server/src/platform/database/statement.ts";
import { ENGINES, type Engine, type Settings } from "./engines.testing.ts";
import { fakeGate, policyTrait, type TestGate } from "./gates.testing.ts";
import { mirrorTrait } from "./registry-upstream.testing.ts";
import { expectStatus, startTestRegistry, type SendOptions, type TestRegistry } from "./registry.testing.ts";
import { fakeUpstream, registryUpstream, type TestUpstream } from "./upstreams.testing.ts";

const PASSWORD = "upstream-test-password";
/** Rights, and what a project has, are a second old at most. */
const OLDEST_MS = 1_100;

/** Nobody is there. */
export const AWAY = { on: /./, kind: "away" } as const;

/** A registry with a project `hub` that mirrors, and `own` that does not; `reader`, `writer` and `owner` are members of both, `stranger` of none. */
export interface Mirror {
  readonly engine: Engine;
  readonly settings: Settings;
  readonly registry: TestRegistry;
  readonly test: TestUpstream;
  readonly gate: TestGate;
  readonly log: readonly string[];
  /** The repository of the test, there and in `hub`. */
  readonly name: string;
  /** Set: no byte more fits into `hub`. */
  isFull: boolean;
  /** Another repository. */
  useRepository(): void;
  as(account: string, headers?: Record<string, string>): SendOptions;
  /** A request about the repository, as `reader` where nothing else is said. */
  ask(method: string, path: string, options?: SendOptions): Promise<Response>;
  get(path: string, options?: SendOptions): Promise<Response>;
  bytesOf(answer: Response): Promise<Buffer>;
  /** How often the upstream was asked such a thing. */
  asked(what: RegExp): number;
  /** Whether it is here: nobody else can be asked. */
  isStored(path: string): Promise<boolean>;
  setTrait(project: string, trait: ProjectTrait, value: unknown): Promise<void>;
  settled(): Promise<void>;
  /** An upstream that could not be reached is left alone for a while: until its project changes. */
  released(): Promise<void>;
  /** The ports of another replica. */
  ports(): FeaturePorts;
}

type Writable = { -readonly [K in keyof Mirror]: Mirror[K] };

const findProject = statement<{ name: string }>()("test.project_id", (db, p) =>
  db.selectFrom("project").select("id").where("name", "=", p.name),
);

/** Runs the tests with each upstream on each database. */
export function forEachMirror(what: string, tests: (on: Mirror) => void): void {
  for (const engine of ENGINES) {
    for (const [kind, makeUpstream] of [
      ["another registry", registryUpstream],
      ["a fake upstream", fakeUpstream],
    ] as const) {
      describe(`${what} of a project that mirrors ${kind}, on ${engine.name}`, { skip: engine.skip }, () => {
        const ends: (() => unknown)[] = [];
        const { on, start, begin, end } = createMirror(engine, makeUpstream);
        before(() => start({ after: (work: () => unknown) => void ends.push(work) } as unknown as TestContext));
        beforeEach(begin);
        after(async () => {
          await end();
          for (const work of ends.toReversed()) await work();
        });
        tests(on);
      });
    }
  }
}

function createMirror(engine: Engine, makeUpstream: () => Promise<TestUpstream>) {
  let database: Database;
  let count = 0;
  const log: string[] = [];
  const json = (body: unknown): SendOptions => ({ body: JSON.stringify(body), headers: { "content-type": "application/json" } });

  const on = {
    engine,
    log,
    isFull: false,
    useRepository: () => (on.name = `app${++count}`),
    as: (account, headers = {}) => ({
      headers: { authorization: `Basic ${Buffer.from(`${account}:${PASSWORD}`).toString("base64")}`, ...headers },
    }),
    ask: (method, path, options = on.as("reader")) => on.registry.send(method, `/v2/hub/${on.name}/${path}`, options),
    get: (path, options) => on.ask("GET", path, options),
    bytesOf: async (answer) => Buffer.from(await (await expectStatus(answer, 200)).arrayBuffer()),
    asked: (what) => on.test.asked.filter((label) => what.test(label)).length,
    async isStored(path) {
      const { fault } = on.test;
      on.test.fault = { on: /./, kind: "status", status: 500 };
      try {
        return (await on.ask("HEAD", path)).status === 200;
      } finally {
        on.test.fault = fault;
      }
    },
    async setTrait(project, trait, value) {
      const { id } = (await database.first(findProject, { name: project }))!;
      await database.transaction((tx) => putProjectTrait(tx, id, trait, value));
    },
    settled: () => new Promise((resolve) => setTimeout(resolve, OLDEST_MS)),
    async released() {
      await on.setTrait("hub", mirrorTrait, on.test.trait);
      await on.settled();
    },
    ports: () => portsOf(on, () => undefined),
    // The rest comes with the start.
  } as Partial<Writable> as Writable;

  async function start(t: TestContext): Promise<void> {
    on.settings = (await engine.make(t)).settings;
    on.test = await makeUpstream();
    on.gate = await fakeGate();
    const ports = portsOf(on, (opened) => (database = opened));
    on.registry = await startTestRegistry(on.settings, { ports, onLog: (line) => log.push(line) });
    const { registry } = on;
    for (const project of ["hub", "own"]) await expectStatus(await registry.send("POST", "/api/v1/projects", json({ name: project })), 201);
    for (const [account, role] of [
      ["reader", "guest"],
      ["writer", "developer"],
      ["owner", "owner"],
      ["stranger", undefined],
    ] as const) {
      await expectStatus(await registry.send("POST", "/api/v1/users", json({ name: account, password: PASSWORD })), 201);
      if (role === undefined) continue;
      for (const project of ["hub", "own"]) {
        await expectStatus(await registry.send("PUT", `/api/v1/projects/${project}/members/${account}`, json({ role })), 200);
      }
    }
    await on.released();
  }

  function begin(): void {
    on.useRepository();
    on.test.asked.length = 0;
    on.test.fault = undefined;
    on.test.ttlMs = Infinity;
    on.isFull = false;
  }

  async function end(): Promise<void> {
    await on.registry.stop();
    await on.test.end();
  }

  return { on: on as Mirror, start, begin, end };
}

function portsOf(on: Mirror, onDatabase: (opened: Database) => void): FeaturePorts {
  return {
    traits: [mirrorTrait, policyTrait],
    open: ({ database }) => {
      onDatabase(database);
      return {
        gates: [{ trait: policyTrait, verdict: (question) => on.gate.gate.verdict(question) }],
        upstreams: [on.test.upstream],
        quota: {
          trait: mirrorTrait,
          async take() {
            if (on.isFull) throw new RegistryError("DENIED", { message: "no byte more fits" });
          },
          reserve: async () => undefined,
          release: async () => undefined,
        },
      };
    },
  };
}
