// The content of a registry's database and store, read beside its server: manifests, the history of tags, what is queued for removal, and
// doctor's findings. Not here: the expected content (registry-model.ts).
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { ListMultipartUploadsCommand, S3Client } from "@aws-sdk/client-s3";
import { leaseTimes } from "../../apps/server/src/compose/foundation.ts";
import { openDatabase, openReader, openStore } from "../../apps/server/src/compose/openers.ts";
import { loadConfig, takeConfigFlags } from "../../apps/server/src/config-load.ts";
import type { Config } from "../../apps/server/src/config.ts";
import { examine, type DoctorResult, type Problem } from "../../apps/server/src/commands/doctor/doctor.ts";
import { systemClock } from "../../apps/server/src/platform/clock.ts";
import { statement } from "../../apps/server/src/platform/database/statement.ts";
import { createLog } from "../../apps/server/src/platform/log.ts";
import { createRateLimiter } from "../../apps/server/src/platform/rate-limiter.ts";

/** Content to which nothing leads, or soon will not. */
export interface Leftovers {
  /** Rows of sessions, of keys to be deleted, of links with only a lease, of blobs without a link. */
  readonly rows: Readonly<Record<"uploads" | "reclaim" | "leases" | "unlinked", number>>;
  /** Keys of the store that belong to no blob. */
  readonly keys: readonly string[];
  /** Directories of uploads, or multipart uploads. */
  readonly temporary: number;
}

/** Database and store. */
export interface Stored {
  /** All manifests, as `REPOSITORY@DIGEST`. */
  manifests(): Promise<Set<string>>;
  /** The digests that each tag named, oldest first, by `REPOSITORY TAG`; undefined for a deletion. */
  histories(): Promise<Map<string, (string | undefined)[]>>;
  leftovers(): Promise<Leftovers>;
  /** Removes leftovers that are only recognised by age, as a collector does each hour, here without waiting. */
  sweep(): Promise<void>;
  /** All findings of a deep check by doctor. */
  examine(): Promise<{ readonly result: DoctorResult; readonly problems: readonly Problem[] }>;
  close(): Promise<void>;
}

type None = Record<never, never>;

const listManifests = statement<None>()("failure.manifests", (db) =>
  db
    .selectFrom("manifest")
    .innerJoin("repository", "repository.id", "manifest.repository_id")
    .select(["repository.name", "manifest.digest"]),
);
const listHistories = statement<None>()("failure.histories", (db) =>
  db
    .selectFrom("tag_history")
    .innerJoin("repository", "repository.id", "tag_history.repository_id")
    .select(["repository.name as repository", "tag_history.name", "tag_history.digest"])
    .orderBy("tag_history.id"),
);
const countUploads = statement<None>()("failure.uploads", (db) =>
  db.selectFrom("upload").select(({ fn }) => fn.countAll<number>().as("count")),
);
const countReclaim = statement<None>()("failure.reclaim", (db) =>
  db.selectFrom("reclaim").select(({ fn }) => fn.countAll<number>().as("count")),
);
const countLeases = statement<None>()("failure.leases", (db) =>
  db
    .selectFrom("repository_blob")
    .select(({ fn }) => fn.countAll<number>().as("count"))
    .where("leased_until", "is not", null),
);
const countUnlinked = statement<None>()("failure.unlinked", (db) =>
  db
    .selectFrom("blob")
    .select(({ fn }) => fn.countAll<number>().as("count"))
    .where(({ not, exists, selectFrom }) =>
      not(exists(selectFrom("repository_blob").select("blob_id").whereRef("repository_blob.blob_id", "=", "blob.id"))),
    ),
);
const listKeys = statement<None>()("failure.keys", (db) =>
  db.selectFrom("blob").select("storage_key").where("storage_key", "is not", null),
);

async function configOf(settings: Readonly<Record<string, string>>): Promise<Config> {
  const { flags } = takeConfigFlags(Object.entries(settings).map(([name, value]) => `--${name}=${value}`));
  const loaded = await loadConfig({ flags, environment: {}, directory: "/" });
  if (!loaded.ok) throw new Error(loaded.problems.map(({ message }) => message).join("; "));
  return loaded.config;
}

const logger = createLog({ level: "silent", format: "json" }).logger;

/** Opens the database and store of a server with these settings, for reading. */
export async function openStored(settings: Readonly<Record<string, string>>): Promise<Stored> {
  const config = await configOf(settings);
  const reader = await openReader(config, logger);
  const store = await openStore(config);
  const executor = reader.live;
  const countOf = async (query: typeof countUploads): Promise<number> => Number((await executor.first(query, {}))?.count ?? 0);

  async function countTemporary(): Promise<number> {
    const { kind, filesystem, s3 } = config.storage;
    if (kind === "filesystem") return (await readdir(join(filesystem.directory, "uploads"))).length;
    const credentials = { accessKeyId: settings["storage.s3.accessKeyId"]!, secretAccessKey: settings["storage.s3.secretAccessKey"]! };
    const client = new S3Client({ endpoint: settings["storage.s3.endpoint"]!, region: "default", forcePathStyle: true, credentials });
    try {
      return ((await client.send(new ListMultipartUploadsCommand({ Bucket: s3.bucket! }))).Uploads ?? []).length;
    } finally {
      client.destroy();
    }
  }

  return {
    manifests: async () => new Set((await executor.all(listManifests, {})).map(({ name, digest }) => `${name}@${digest}`)),
    async histories() {
      const histories = new Map<string, (string | undefined)[]>();
      for (const { repository, name, digest } of await executor.all(listHistories, {})) {
        const key = `${repository} ${name}`;
        const history = histories.get(key) ?? [];
        history.push(digest ?? undefined);
        histories.set(key, history);
      }
      return histories;
    },
    async leftovers() {
      const known = new Set((await executor.all(listKeys, {})).map((row) => row.storage_key));
      const keys: string[] = [];
      for await (const { key, changedAt } of store.list?.() ?? []) if (!known.has(key)) keys.push(`${key} ${changedAt.toISOString()}`);
      const rows = {
        uploads: await countOf(countUploads),
        reclaim: await countOf(countReclaim),
        leases: await countOf(countLeases),
        unlinked: await countOf(countUnlinked),
      };
      return { rows, keys, temporary: await countTemporary() };
    },
    // A minute, because the store's clock and ours may differ; nobody uploads now.
    sweep: async () => void (await store.sweep(new Date(Date.now() + 60_000))),
    async examine() {
      const problems: Problem[] = [];
      const result = await examine({
        executor,
        repairs: undefined,
        store,
        clock: systemClock,
        times: leaseTimes(config),
        isDeep: true,
        rateLimiter: createRateLimiter(0),
        fromId: 0,
        orphanAgeMs: config.limits.uploadAgeSeconds * 1000,
        onProblem: (problem) => void problems.push(problem),
        onProgress: () => undefined,
      });
      return { result, problems };
    },
    async close() {
      await store.close();
      await reader.close();
    },
  };
}

/** Ages all upload sessions to their limit (at least a minute), and their writers' claims (half a minute). The server must be stopped. */
export async function ageUploads(settings: Readonly<Record<string, string>>): Promise<void> {
  const database = await openDatabase(await configOf(settings), logger);
  try {
    await database.script(
      "update upload set expires_at = 1 where expires_at > 1; update upload set locked_until = 1 where lock_token is not null",
    );
  } finally {
    await database.close();
  }
}
