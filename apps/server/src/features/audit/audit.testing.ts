// What tests of the audit log share: an actor, a sealer, all records. Not here: tests.
import { randomBytes } from "node:crypto";
import type { Actor } from "../../access/actor.ts";
import { createTestClock, TEST_MASTER_KEY, type TestClock } from "../../access/access.testing.ts";
import { BY_PASSWORD } from "../../access/sign-in.ts";
import type { Change } from "../../access/changes.ts";
import type { Database } from "../../platform/database/database.ts";
import { createAuditSigner } from "./audit-keys.ts";
import { type AuditSealer, createAuditSealer, type SealerParts } from "./audit-sealing.ts";
import { createAuditSink } from "./audit-sink.ts";

export const ALICE: Actor = {
  kind: "user",
  accountId: 7,
  name: "alice",
  origin: { requestId: "r1", address: "192.0.2.1" },
  via: BY_PASSWORD,
};

/** A sink to which nobody else listens. */
export function sinkOf(clock: TestClock = createTestClock()): ReturnType<typeof createAuditSink<Change>> {
  return createAuditSink<Change>(clock, { wants: () => false, record: async () => undefined });
}

/** A change of some kind. */
export function changeOf(tag: string, more: object = {}): Change {
  return {
    kind: "tag.moved",
    repository: "team/app",
    projectId: 3,
    tag,
    from: undefined,
    to: `sha256:${"a".repeat(64)}`,
    ...more,
  } as Change;
}

/** Makes a sealer with a key of its own database. */
export function sealerOf(database: Database, options: Partial<SealerParts> = {}): AuditSealer {
  const clock = options.clock ?? createTestClock();
  return createAuditSealer({ database, clock, signer: createAuditSigner(database, clock, TEST_MASTER_KEY), ...options });
}

/** Puts so many changes on record, each in a transaction of its own, and seals them. */
export async function putRecords(database: Database, count: number, sealer = sealerOf(database), more: object = {}): Promise<void> {
  const sink = sinkOf();
  for (let at = 0; at < count; at++) {
    await database.transaction((tx) => sink.record(tx, ALICE, [changeOf(`t${at}-${randomBytes(3).toString("hex")}`, more)]));
  }
  while (await sealer.seal());
}
