// All features over a database and a store in memory, for tests of what stands before them.
import { type TestAccess, TEST_MASTER_KEY } from "../access/access.testing.ts";
import type { ChangeSink } from "../access/changes.ts";
import type { AccountChange } from "../access/account-changes.ts";
import { createSeal } from "../access/seal.ts";
import { createHotCache } from "../content/blobs/hot-cache.ts";
import { createMemoryBlobs, createMemoryStore } from "../content/blobs/memory.ts";
import { createContent, NOBODY_WANTS } from "../content/content.testing.ts";
import { createListPlaces } from "../distribution/list-places.ts";
import { createBlobReader } from "../distribution/open-blob.ts";
import { createPull } from "../distribution/pull.ts";
import { createPush } from "../distribution/push.ts";
import type { Clock } from "../platform/clock.ts";
import type { Database } from "../platform/database/database.ts";
import { DELETIONS } from "../tables.ts";
import { createFeatures, type Features } from "./features.ts";
import { createRunTimeSettings } from "./settings/run-time.ts";

/** Creates the test features. */
export function createTestFeatures(
  access: TestAccess,
  database: Database,
  clock: Clock,
  changes: ChangeSink<AccountChange> = NOBODY_WANTS,
): Features {
  const store = createMemoryStore({ processId: "features", memory: createMemoryBlobs() });
  const content = createContent(database, store, clock);
  const parts = { ...content, authorizer: access.authorizer, ports: {} };
  return createFeatures({
    ...access,
    browserSessions: access.sessions,
    personalTokenDays: 365,
    database,
    clock,
    repositories: content.repositories,
    places: createListPlaces(TEST_MASTER_KEY),
    masterKey: TEST_MASTER_KEY,
    changes,
    deletions: DELETIONS,
    directories: [],
    wanted: { settle: async () => undefined },
    webhookSeal: createSeal(TEST_MASTER_KEY, "webhooks"),
    checkAddress: () => undefined,
    runTimeSettings: {
      ...createRunTimeSettings({ database, clock, settings: [] }),
      projectCreation: () => "administrators",
      ownedPerUser: 100,
    },
    pull: createPull(parts),
    sessions: content.sessions,
    push: createPush({ ...parts, acceptSparseImages: true }),
    reader: createBlobReader({
      blobs: content.blobs,
      cache: createHotCache({ store, maxBytes: 0 }),
      onDamage: () => undefined,
      onUnmarked: () => undefined,
    }),
  });
}
