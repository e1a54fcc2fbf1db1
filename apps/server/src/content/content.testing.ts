// One replica's whole content layer for tests, on any database and store, with a clock that tests set; and small images to put into it. Not
// here: faults and schedules (schedule.testing.ts).
import { digestOf, type Digest } from "@berth/oci/digest";
import { parseManifest } from "@berth/oci/manifest";
import type { RepositoryName, Tag } from "@berth/oci/reference";
import type { Action, Grant } from "../access/caller.ts";
import { createUploadSessions, type UploadSessions } from "../distribution/upload-session.ts";
import type { Clock } from "../platform/clock.ts";
import { actorOf } from "../access/actor.ts";
import type { Change, ChangeSink } from "../access/changes.ts";
import type { ContentChange } from "./changes.ts";
import type { Database } from "../platform/database/database.ts";
import type { ProjectTraits } from "../access/project-traits.ts";
import { statement } from "../platform/database/statement.ts";
import { createBlobs, type BlobRow, type Blobs, type LeaseTimes } from "./blobs.ts";
import type { BlobStore } from "./blobs/blob-store.ts";
import { createGarbage, type Garbage } from "./garbage.ts";
import { createManifests, type ManifestPut, type Manifests } from "./manifests.ts";
import { createRepositories, type GrantedRepository, type Repositories } from "./repositories.ts";
import { type ContentRules, NO_RULES } from "./rules.ts";
import { createTags, type Tags } from "./tags.ts";
import { createUploads, type Uploads } from "./uploads.ts";

/** The times of tests: nobody waits for them, because tests set the clock. */
export const TEST_TIMES: LeaseTimes = { leaseMs: 10_000, graceMs: 2_000 };
/** The age limit of an upload session in tests. */
export const TEST_UPLOAD_AGE_MS = 100_000;
/** In tests, blobs up to this size are stored in the database: small, so that both kinds occur. */
export const TEST_INLINE_MAX_BYTES = 40;

/** The services of one process. */
export interface Content {
  readonly database: Database;
  readonly store: BlobStore;
  readonly clock: Clock;
  readonly repositories: Repositories;
  readonly blobs: Blobs;
  readonly uploads: Uploads;
  readonly manifests: Manifests;
  readonly tags: Tags;
  readonly garbage: Garbage;
  readonly sessions: UploadSessions;
}

/** A sink for changes to which nothing reacts. */
export const NOBODY_WANTS: ChangeSink<Change> = { wants: () => false, record: async () => undefined };

function fail(error: unknown): never {
  throw error;
}

/** Creates a process's content layer. */
export function createContent(
  database: Database,
  store: BlobStore,
  clock: Clock,
  times: LeaseTimes = TEST_TIMES,
  onBackgroundError: (error: unknown) => void = fail,
  changes: ChangeSink<ContentChange> = NOBODY_WANTS,
  rules: ContentRules = NO_RULES,
): Content {
  const repositories = createRepositories(database, clock, changes);
  const blobs = createBlobs(database, clock, times, rules);
  const uploads = createUploads(database, clock, TEST_UPLOAD_AGE_MS);
  return {
    database,
    store,
    clock,
    repositories,
    blobs,
    uploads,
    manifests: createManifests(database, clock, times, { changes, rules }),
    tags: createTags(database, clock, changes, rules),
    garbage: createGarbage(database, store, clock, times),
    sessions: createUploadSessions({
      database,
      uploadLimits: { check: () => undefined },
      repositories,
      uploads,
      blobs,
      store,
      clock,
      rules,
      inlineMaxBytes: TEST_INLINE_MAX_BYTES,
      maxBlobBytes: 16 * 1024 * 1024,
      onBackgroundError,
    }),
  };
}

const putProject = statement<{ name: string }>()("test.putProject", (db, p) =>
  db
    .insertInto("project")
    .values({ name: p.name, sort_key: p.name, is_public: 0, created_at: 0 })
    .onConflict((conflict) => conflict.column("name").doUpdateSet({ is_public: 0 }))
    .returning("id"),
);

/** Creates a project and returns grants for its repositories. */
export async function createGrants(
  database: Database,
  traits?: ProjectTraits,
): Promise<<A extends Action>(action: A, repository: string) => Grant<A>> {
  const [row] = await database.write(putProject, { name: "test" });
  const projectId = row!.id;
  // Only authorize.ts makes grants; tests make them without a check.
  return <A extends Action>(action: A, repository: string) => {
    const grant = {
      action,
      repository: repository as RepositoryName,
      projectId,
      traits,
      actor: actorOf(undefined, undefined),
      renew: () => grant,
    } as Grant<A>;
    return grant;
  };
}

/** A grant with the repository of that id, which may be deleted, or another one of the same name. */
export function inRepository<A extends Action>(grant: Grant<A>, id: number): GrantedRepository<A> {
  // Only repositories.ts joins them; tests do so without a look-up.
  return { grant, id } as GrantedRepository<A>;
}

/** A blob's content and digest. */
export interface TestBlob {
  readonly bytes: Buffer;
  readonly digest: Digest;
}

/** A blob of a repeated text; over 40 bytes it is in the store. */
export function blobOf(text: string, times = 20): TestBlob {
  const bytes = Buffer.from(text.repeat(times));
  return { bytes, digest: digestOf(bytes) };
}

/** An image manifest over blobs, the first as its config. */
export function imageOf(blobs: readonly TestBlob[], note = ""): Omit<ManifestPut, "tags" | "condition"> {
  const [config, ...layers] = blobs.map(({ bytes, digest }, i) => ({
    mediaType: i === 0 ? "application/vnd.oci.image.config.v1+json" : "application/vnd.oci.image.layer.v1.tar",
    digest,
    size: bytes.length,
  }));
  const mediaType = "application/vnd.oci.image.manifest.v1+json";
  const bytes = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType, config, layers, annotations: { note } }));
  return { digest: digestOf(bytes), bytes, parsed: parseManifest(bytes, mediaType), mayBeSparse: false };
}

/** A put of an image under tags. */
export function putOf(blobs: readonly TestBlob[], tags: readonly string[] = [], note = ""): ManifestPut {
  return { ...imageOf(blobs, note), tags: tags as readonly Tag[], condition: { kind: "none" } };
}

/** A body in pieces. */
export async function* bodyOf(bytes: Uint8Array, pieceBytes = 64): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += pieceBytes) yield bytes.subarray(at, at + pieceBytes);
}

/** Uploads a blob in one request. */
export async function upload(content: Content, grant: Grant<"push">, blob: TestBlob): Promise<void> {
  await content.sessions.pushWhole(grant, blob.digest, { body: bodyOf(blob.bytes), startBytes: undefined, lengthBytes: blob.bytes.length });
}

/** All bytes of a blob. */
export async function readBlob(content: Content, blob: BlobRow): Promise<Buffer> {
  if (blob.key === undefined) return Buffer.from(await content.blobs.readInline(blob));
  const pieces: Buffer[] = [];
  if (blob.sizeBytes > 0) for await (const piece of content.store.read(blob.key, 0, blob.sizeBytes - 1)) pieces.push(Buffer.from(piece));
  return Buffer.concat(pieces);
}

/** The number of rows in each table of content. */
export async function countContent(database: Database): Promise<Record<string, number>> {
  const counts: Record<string, number> = {};
  for (const [table, count] of Object.entries(COUNTS)) counts[table] = Number((await database.first(count, {}))?.count ?? 0);
  return counts;
}

const TABLES = ["repository_blob", "blob", "blob_inline", "manifest", "manifest_blob", "tag", "upload", "reclaim"] as const;
const COUNTS = Object.fromEntries(
  TABLES.map((table) => [
    table,
    statement<Record<never, never>>()(`test.count.${table}`, (db) =>
      db.selectFrom(table).select(({ fn }) => fn.countAll<number>().as("count")),
    ),
  ]),
);
