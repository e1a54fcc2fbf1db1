// Rights that are revoked between a grant and the write that uses it: every kind of revocation and every write of content, on the replica
// that revokes at once and on another within a second; and nothing is written for a caller in any other way. Not here: bodies that are held
// over HTTP (test/flows/held-bodies.test.ts).
import assert from "node:assert/strict";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, it } from "node:test";
import { RegistryError } from "@berth/oci/errors";
import { parseRepositoryName, type Tag } from "@berth/oci/reference";
import {
  addProject,
  addRobot,
  addUser,
  basic,
  changeAccount,
  createTestAccess,
  createTestClock,
  TEST_ADDRESS,
  TEST_PASSWORD,
  type TestAccess,
  type TestClock,
} from "../access/access.testing.ts";
import { deleteAccount } from "../access/account-store.ts";
import type { Caller, Grant } from "../access/caller.ts";
import { grantedTransaction } from "../access/granted-transaction.ts";
import { deleteMember, putMember } from "../access/member-store.ts";
import { putRobotScopes } from "../access/robot-store.ts";
import { createPasswordHasher } from "../access/secrets.ts";
import { createMemoryBlobs, createMemoryStore } from "../content/blobs/memory.ts";
import {
  blobOf,
  bodyOf,
  countContent,
  createContent,
  createGrants,
  putOf,
  upload,
  type Content,
  inRepository,
} from "../content/content.testing.ts";
import type { Executor } from "../platform/database/database.ts";
import { forEachDatabase, type TestDatabase } from "../platform/database/databases.testing.ts";

const APP = parseRepositoryName("test/app");
const HOUR_MS = 3_600_000;

interface Subject {
  readonly caller: Caller;
  readonly accountId: number;
}

type Remove = (tx: Executor, subject: Subject) => Promise<unknown>;

/** Content that a write needs, in its state before each write. */
interface Stage {
  readonly content: Content;
  readonly repositoryId: number;
  readonly sourceId: number;
  readonly push: Grant<"push">;
  readonly remove: Grant<"delete">;
  readonly source: Grant<"pull">;
  /** Of a repository that does not exist. */
  readonly elsewhere: Grant<"push">;
  /** Begins a session. */
  readonly begin: () => Promise<string>;
  readonly small: ReturnType<typeof blobOf>;
  readonly large: ReturnType<typeof blobOf>;
}

const config = blobOf("config", 1);
const layer = blobOf("layer ");
const free = blobOf("held by nothing ");
const image = putOf([config, layer], ["v1"]);
const chunkOf = ({ bytes }: { bytes: Buffer }) => ({ body: bodyOf(bytes), startBytes: undefined, lengthBytes: bytes.length });

/** Everything that changes content for a caller. */
const WRITES: Record<string, (stage: Stage) => Promise<unknown>> = {
  "a manifest": ({ content, push, repositoryId }) =>
    content.manifests.put(inRepository(push, repositoryId), putOf([config, layer], ["v1"], "another")),
  "a blob in one small request": ({ content, push, small }) => content.sessions.pushWhole(push, small.digest, chunkOf(small)),
  "a blob in one large request": ({ content, push, large }) => content.sessions.pushWhole(push, large.digest, chunkOf(large)),
  "the end of a small session": async ({ content, push, begin, small }) =>
    content.sessions.finish(push, await begin(), small.digest, chunkOf(small)),
  "the end of a large session": async ({ content, push, begin, large }) =>
    content.sessions.finish(push, await begin(), large.digest, chunkOf(large)),
  "a stream of no known length": async ({ content, push, begin, large }) =>
    content.sessions.finish(push, await begin(), large.digest, { ...chunkOf(large), lengthBytes: undefined }),
  "a chunk": async ({ content, push, begin, large }) => content.sessions.append(push, await begin(), chunkOf(large)),
  "a mount": ({ content, push, repositoryId, source, sourceId }) =>
    content.blobs.mount(inRepository(push, repositoryId), inRepository(source, sourceId), layer.digest),
  "a repository": ({ content, elsewhere }) => content.repositories.ensure(elsewhere),
  "a tag's deletion": ({ content, remove, repositoryId }) => content.tags.delete(inRepository(remove, repositoryId), "v1" as Tag),
  "a blob's deletion": ({ content, remove, repositoryId }) => content.blobs.delete(inRepository(remove, repositoryId), free.digest),
  "a manifest's deletion": ({ content, remove, repositoryId }) =>
    content.manifests.delete(inRepository(remove, repositoryId), image.digest),
  "a repository's deletion": ({ content, remove }) => content.repositories.delete(remove),
};

forEachDatabase("grants that have aged", (create) => {
  let test: TestDatabase;
  let clock: TestClock;
  let here: TestAccess;
  let content: Content;
  let projectId: number;
  let ownerId: number;
  let count = 0;
  let secretHash: string;

  before(async () => {
    test = await create();
    clock = createTestClock();
    here = createTestAccess(test.database, clock);
    content = createContent(test.database, createMemoryStore({ processId: "p1", memory: createMemoryBlobs() }), clock);
    projectId = await addProject(test.database, "test");
    secretHash = await createPasswordHasher().hash(TEST_PASSWORD);
    ownerId = await addUser(test.database, "owner", { secretHash: "unused" });
  });
  after(() => test.end());

  async function login(name: string, secret: string, byToken: boolean): Promise<Caller> {
    const caller = await here.authenticator.authenticate(basic(name, secret), TEST_ADDRESS);
    if (!byToken) return caller;
    const names = ["test/app", "test/source", "test/new"].map((each) => `repository:${each}:pull,push,delete`);
    const { token } = await here.tokens.issueToken(caller, names);
    return here.authenticator.authenticate(`Bearer ${token}`, TEST_ADDRESS);
  }

  async function user(byToken: boolean): Promise<Subject> {
    const name = `user${++count}`;
    const accountId = await addUser(test.database, name, { roles: new Map([[projectId, "maintainer"]]), secretHash });
    return { accountId, caller: await login(name, TEST_PASSWORD, byToken) };
  }

  async function robot(byToken: boolean): Promise<Subject> {
    const name = `test+robot${++count}`;
    const { id, secret } = await addRobot(test.database, name, projectId, { "test/**": ["pull", "push", "delete"] });
    return { accountId: id, caller: await login(name, secret, byToken) };
  }

  const isDisabled = (_: Executor, { accountId }: Subject) => changeAccount(test.database, accountId, { isDisabled: true }, true);
  const secretChanged = (_: Executor, { accountId }: Subject) =>
    changeAccount(test.database, accountId, { secretHash: "sha256:another" }, true);
  const REMOVALS: Record<string, { of: (byToken: boolean) => Promise<Subject>; take: Remove }> = {
    "a removed member": { of: user, take: (tx, { accountId }) => deleteMember(tx, projectId, accountId) },
    "a member who may only pull now": { of: user, take: (tx, { accountId }) => putMember(tx, projectId, accountId, "guest") },
    "a disabled user": { of: user, take: isDisabled },
    "a user with a new password": { of: user, take: secretChanged },
    "a deleted user": {
      of: user,
      async take(tx, { accountId }) {
        await deleteMember(tx, projectId, accountId);
        await deleteAccount(tx, accountId);
      },
    },
    "a deleted robot": {
      of: robot,
      async take(tx, { accountId }) {
        await putRobotScopes(tx, accountId, []);
        await deleteAccount(tx, accountId);
      },
    },
    "a robot that may only pull now": {
      of: robot,
      take: (tx, { accountId }) => putRobotScopes(tx, accountId, [{ repositoryPattern: "test/**", actions: new Set(["pull"]) }]),
    },
    "a disabled robot": { of: robot, take: isDisabled },
    "a robot with a new secret": { of: robot, take: secretChanged },
    "a robot whose time is over": {
      of: robot,
      take: (_, { accountId }) => changeAccount(test.database, accountId, { expiresAt: new Date(clock.now() - 1) }, false),
    },
  };
  /** Those of `REMOVALS` that are complete transactions. */
  const OWN = new Set<Remove>([isDisabled, secretChanged, REMOVALS["a robot whose time is over"]!.take]);

  async function takeAway(take: Remove, subject: Subject): Promise<void> {
    if (OWN.has(take)) await take(test.database, subject);
    else await test.database.transaction((tx) => take(tx, subject));
  }

  /** Grants of the subject, and content to write to. */
  async function stageOf({ caller }: Subject): Promise<Stage> {
    const grants = await createGrants(test.database);
    for (const name of ["test/app", "test/source"]) {
      const owner = grants("push", name);
      for (const blob of [config, layer, free]) await upload(content, owner, blob);
      await content.repositories.writing(owner, (repository) => content.manifests.put(repository, image));
    }
    const note = `${++count}`;
    return {
      content,
      repositoryId: (await content.repositories.find(grants("pull", "test/app")))!.id,
      sourceId: (await content.repositories.find(grants("pull", "test/source")))!.id,
      push: await here.authorizer.authorize(caller, "push", APP),
      remove: await here.authorizer.authorize(caller, "delete", APP),
      source: await here.authorizer.authorize(caller, "pull", parseRepositoryName("test/source")),
      elsewhere: await here.authorizer.authorize(caller, "push", parseRepositoryName("test/new")),
      begin: async () => (await content.sessions.begin(grants("push", "test/app"), "sha256")).id,
      small: blobOf(note, 1),
      large: blobOf(`large ${note} `),
    };
  }

  /** The visible content: rows of sessions come and go with refused requests. */
  async function visible(): Promise<Record<string, number>> {
    const { upload: _uploads, reclaim: _reclaim, ...counts } = await countContent(test.database);
    return counts;
  }

  async function refuses(stage: Stage, what: string): Promise<void> {
    for (const [name, write] of Object.entries(WRITES)) {
      const found = await visible();
      await assert.rejects(
        async () => write(stage),
        (error) => error instanceof RegistryError && ["UNAUTHORIZED", "DENIED", "NAME_UNKNOWN"].includes(error.code),
        `${what}: ${name}`,
      );
      assert.deepEqual(await visible(), found, `${what}: ${name} left something`);
    }
  }

  it("hold for an hour while nothing is taken away", async () => {
    for (const make of [user, robot]) {
      const subject = await make(false);
      for (const [name, write] of Object.entries(WRITES)) {
        const stage = await stageOf(subject);
        clock.advance(HOUR_MS);
        await write(stage).catch((error: unknown) => assert.fail(`${name}: ${String(error)}`));
        if (name === "a repository") await content.repositories.delete((await createGrants(test.database))("delete", "test/new"));
      }
    }
  });

  for (const [what, { of, take }] of Object.entries(REMOVALS)) {
    it(`give ${what} nothing more, here at once and elsewhere within a second`, async () => {
      for (const byToken of [false, true]) {
        const subject = await of(byToken);
        const stage = await stageOf(subject);
        await takeAway(take, subject);
        here.accounts.forget();
        await refuses(stage, `${what} ${byToken} here`);

        const other = await of(byToken);
        const seen = await stageOf(other);
        // Another replica did it, so this one is not notified.
        await takeAway(take, other);
        clock.advance(1_000);
        await refuses(seen, `${what} ${byToken} elsewhere`);
      }
    });
  }

  it("end with their token, but for the bytes of blobs", async () => {
    const subject = await user(true);
    const stage = await stageOf(subject);
    clock.advance(301_000);
    await refuses(stage, "an expired token");
    const long = await here.authorizer.authorize({ ...subject.caller, accessEndsAt: undefined }, "push", APP);
    await WRITES["the end of a large session"]!({ ...stage, push: long });
    await takeAway(REMOVALS["a removed member"]!.take, subject);
    here.accounts.forget();
    await assert.rejects(async () => WRITES["a blob in one large request"]!({ ...stage, push: long }), { code: "DENIED" });
  });

  it("are asked for in the transaction, before its commit", async () => {
    for (const isReported of [true, false]) {
      const subject = await user(false);
      const stage = await stageOf(subject);
      const waited = grantedTransaction(test.database, stage.push, async (tx) => {
        await putMember(tx, projectId, ownerId, "owner");
        // As if it had waited that long for a lock; the row is the transaction's own, which is what it reads.
        await deleteMember(tx, projectId, subject.accountId);
        if (isReported) here.accounts.forget();
        else clock.advance(1_000);
      });
      await assert.rejects(waited, { code: "DENIED" }, String(isReported));
      assert.equal((await here.authorizer.allowed({ ...subject.caller }, APP)).has("push"), true, "it was rolled back");
    }
  });

  it("are asked for before work that may take the caller's own right", async () => {
    const subject = await user(false);
    const { push } = await stageOf(subject);
    const work = async (tx: Executor): Promise<void> => {
      await deleteMember(tx, projectId, subject.accountId);
      here.accounts.forget();
    };
    await grantedTransaction(test.database, push, work, { asks: "before" });
    await assert.rejects(grantedTransaction(test.database, push, work, { asks: "before" }), { code: "DENIED" });
  });
});

/** Writes without a caller, or without a visible effect: how often each file may run one without a grant, and why. */
const WITHOUT_GRANT: Readonly<Record<string, readonly [number, string]>> = {
  "content/backlog-count.ts": [2, "counting"],
  "content/blobs.ts": [2, "leases of what was read, and damage that a read found"],
  "content/garbage.ts": [3, "collection"],
  "content/older-manifests.ts": [1, "edges of manifests that are there"],
  "content/pulls.ts": [1, "counting"],
  "content/repository-removal.ts": [1, "collection of what a deletion left"],
  "content/store-binding.ts": [4, "a start, and an operator's command"],
  "content/store-sightings.ts": [1, "readiness"],
  "content/unsorted-tags.ts": [1, "the order of tags of earlier releases"],
  "content/uploads.ts": [9, "sessions, of which nobody sees anything before their commit"],
  "content/usage.ts": [1, "counting"],
  "distribution/spool.ts": [1, "a file, and no database"],
  "features/audit/audit-forwarding.ts": [1, "a job's own place in the log"],
  "features/audit/audit-keys.ts": [1, "a key of the registry"],
  "features/audit/audit-notes.ts": [2, "what was counted in memory"],
  "features/audit/audit-retention.ts": [2, "what the settings let go"],
  "features/audit/audit-sealing.ts": [1, "numbers for what was recorded in its own transactions"],
  "features/deletions/deletion-job.ts": [2, "a job's own state, and items whose rights the job asks anew in their transaction"],
  "features/webhooks/webhook-delivery.ts": [3, "a job's own state"],
};

it("nothing is written for a caller but by a granted transaction", async () => {
  const root = join(import.meta.dirname, "..");
  const features = await readdir(join(root, "features"), { withFileTypes: true });
  const folders = [
    "content",
    "distribution",
    "features",
    ...features.filter((each) => each.isDirectory()).map(({ name }) => `features/${name}`),
  ];
  const found: Record<string, number> = {};
  for (const folder of folders) {
    for (const name of await readdir(join(root, folder))) {
      if (!name.endsWith(".ts") || /\.(test|testing|contract)\.ts$/.test(name)) continue;
      const text = await readFile(join(root, folder, name), "utf8");
      const writes = text.match(/\.(transaction|write)\(/g)?.length ?? 0;
      // A database that is passed on as a whole may be written by its recipient, which the pattern would not see.
      if (writes > 0) found[`${folder}/${name}`] = writes;
    }
  }
  assert.deepEqual(found, Object.fromEntries(Object.entries(WITHOUT_GRANT).map(([name, [writes]]) => [name, writes])));
});
