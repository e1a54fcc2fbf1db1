// Manifests, their edges to blobs, children and subjects, and the tags that name them: every change of these is one transaction.
// Not here: what a manifest's bytes mean (@berth/oci/manifest), tag pages and histories (tags.ts).
import { algorithmOf, digestOf, type Digest } from "@berth/oci/digest";
import { RegistryError } from "@berth/oci/errors";
import type { ParsedManifest } from "@berth/oci/manifest";
import type { Tag } from "@berth/oci/reference";
import { LRUCache } from "lru-cache";
import type { ChangeSink } from "../access/changes.ts";
import type { Clock } from "../platform/clock.ts";
import { createLookUp } from "../platform/database/batch.ts";
import { type Database, type Executor, ON_FULL_DISK } from "../platform/database/database.ts";
import type { ExpectedRows } from "../platform/database/row-counts.ts";
import { statement } from "../platform/database/statement.ts";
import type { LeaseTimes } from "./blobs.ts";
import { type ContentChange, placeOf } from "./changes.ts";
import { EDGES_VERSION } from "./older-manifests.ts";
import { type GrantedRepository, isLive, repositoryDeleted, repositoryTransaction } from "./repositories.ts";
import { type ContentRules, NO_RULES, quotaOf } from "./rules.ts";
import { deleteTagsOf, setTag, type TagCondition } from "./tags.ts";

/** Manifest bytes kept in memory, so that a hot pull is one look-up in the database. */
const BYTES_CACHE_BYTES = 32 * 1024 * 1024;
/** Manifests over this are read from the database each time: few of them would empty the cache. */
const BYTES_CACHE_MAX_ENTRY = 1024 * 1024;

/** Edges of a manifest whose row is locked, so that what is there already stays. */
const PUSHED_AGAIN: ExpectedRows = { any: "the manifest may have been there, with all its edges" };
const ALL_THERE_ARE: ExpectedRows = { any: "a manifest has any number of edges" };

/** A manifest without its bytes. */
export interface ManifestRow {
  readonly id: number;
  readonly digest: Digest;
  readonly mediaType: string;
  readonly sizeBytes: number;
}

/** What a push of a manifest brings. */
export interface ManifestPut {
  readonly digest: Digest;
  readonly bytes: Uint8Array;
  readonly parsed: ParsedManifest;
  readonly tags: readonly Tag[];
  readonly condition: TagCondition;
  /** Whether an image may name layers that the repository does not have, as long as it has the config and one layer. */
  readonly mayBeSparse: boolean;
}

/** The manifests of repositories. */
export interface Manifests {
  /** Undefined as well where the repository has been deleted: its id may have been remembered. */
  findByTag(repository: GrantedRepository, tag: Tag): ManifestRow | undefined | Promise<ManifestRow | undefined>;
  /** Undefined as well where the repository has been deleted. */
  findByDigest(repository: GrantedRepository, digest: Digest): ManifestRow | undefined | Promise<ManifestRow | undefined>;
  /** The bytes of a row that was just found. Errors: MANIFEST_UNKNOWN when it went meanwhile. */
  readBytes(manifest: ManifestRow): Promise<Uint8Array> | Uint8Array;
  /**
   * Stores a manifest with its edges and tags, durably and at once or not at all. Gives the layers that it names and the repository does not
   * have: none, unless the image is sparse and may be.
   * Errors: MANIFEST_BLOB_UNKNOWN, MANIFEST_INVALID (a descriptor's size differs from the blob's; the digest has another media type here),
   * PRECONDITION_FAILED.
   */
  put(repository: GrantedRepository<"push">, put: ManifestPut): Promise<readonly Digest[]>;
  /** Deletes a manifest and all tags that name it. Errors: MANIFEST_UNKNOWN. */
  delete(repository: GrantedRepository<"delete">, digest: Digest): Promise<void>;
}

const findByTag = statement<{ repositoryId: number; tag: string }>()("manifests.findByTag", (db, p) =>
  db
    .selectFrom("tag")
    .innerJoin("repository", "repository.id", "tag.repository_id")
    .innerJoin("manifest", "manifest.id", "tag.manifest_id")
    .select(["manifest.id", "manifest.digest", "manifest.media_type", "manifest.size_bytes"])
    .where("tag.repository_id", "=", p.repositoryId)
    .where("tag.name", "=", p.tag)
    .where(isLive),
);

const findByDigest = statement<{ repositoryId: number; digest: string }>()("manifests.findByDigest", (db, p) =>
  db
    .selectFrom("manifest")
    .innerJoin("repository", "repository.id", "manifest.repository_id")
    .select(["manifest.id", "manifest.digest", "manifest.media_type", "manifest.size_bytes"])
    .where("manifest.repository_id", "=", p.repositoryId)
    .where("manifest.digest", "=", p.digest)
    .where(isLive),
);

// The same for many at once, each row with the key that asked for it.
const findManyByTag = statement<{ repositoryIds: number[]; tags: string[] }>()("manifests.findManyByTag", (db, p, tools) =>
  db
    .selectFrom(tools.pairs(p.tags, p.repositoryIds).as("asked"))
    .innerJoin("tag", (join) => join.onRef("tag.repository_id", "=", "asked.number").onRef("tag.name", "=", "asked.text"))
    .innerJoin("repository", "repository.id", "tag.repository_id")
    .innerJoin("manifest", "manifest.id", "tag.manifest_id")
    .select(["tag.repository_id", "tag.name", "manifest.id", "manifest.digest", "manifest.media_type", "manifest.size_bytes"])
    .where(isLive),
);

const findManyByDigest = statement<{ repositoryIds: number[]; digests: string[] }>()("manifests.findManyByDigest", (db, p, tools) =>
  db
    .selectFrom(tools.pairs(p.digests, p.repositoryIds).as("asked"))
    .innerJoin("manifest", (join) => join.onRef("manifest.repository_id", "=", "asked.number").onRef("manifest.digest", "=", "asked.text"))
    .innerJoin("repository", "repository.id", "manifest.repository_id")
    .select(["manifest.repository_id", "manifest.id", "manifest.digest", "manifest.media_type", "manifest.size_bytes"])
    .where(isLive),
);

const readBytes = statement<{ id: number }>()("manifests.readBytes", (db, p) =>
  db.selectFrom("manifest").select("bytes").where("id", "=", p.id),
);

// Crossed, not joined: SQLite keeps that order. Its own would begin with all that the repository has.
const listLinked = statement<{ repositoryId: number; digests: string[] }>()("manifests.listLinked", (db, p, tools) =>
  db
    .selectFrom(tools.rows(p.digests, "text").as("named"))
    .crossJoin("blob")
    .crossJoin("repository_blob")
    .select(["blob.id", "blob.digest", "blob.size_bytes"])
    .whereRef("blob.digest", "=", "named.value")
    .where("blob.damaged_at", "is", null)
    .whereRef("repository_blob.blob_id", "=", "blob.id")
    .where("repository_blob.repository_id", "=", p.repositoryId),
);

interface InsertParameters extends Record<string, string | number | null | Uint8Array> {
  repositoryId: number;
  digest: string;
  mediaType: string;
  artifactType: string | null;
  subject: string | null;
  sizeBytes: number;
  annotations: string | null;
  now: number;
  bytes: Uint8Array;
}

// Nothing where the repository has been deleted: the manifest may be there already, so that no trigger would see it.
const insertAs = (name: string, hasToBeNew: boolean) =>
  statement<InsertParameters>()(name, (db, p, tools) =>
    db
      .insertInto("manifest")
      .columns([
        "repository_id",
        "digest",
        "media_type",
        "artifact_type",
        "subject_digest",
        "size_bytes",
        "annotations",
        "created_at",
        "bytes",
        "edges_version",
      ])
      .expression((eb) =>
        eb
          .selectFrom("repository")
          .select(({ cast, lit, val }) => [
            "repository.id",
            cast<string>(val(p.digest), "text").as("digest"),
            cast<string>(val(p.mediaType), "text").as("media_type"),
            cast<string | null>(val(p.artifactType), "text").as("artifact_type"),
            cast<string | null>(val(p.subject), "text").as("subject_digest"),
            cast<number>(val(p.sizeBytes), "bigint").as("size_bytes"),
            cast<string | null>(val(p.annotations), "text").as("annotations"),
            cast<number>(val(p.now), "bigint").as("created_at"),
            // SQLite takes what it does not know for a number.
            (tools.name === "sqlite" ? val(p.bytes) : cast<Uint8Array>(val(p.bytes), "bytea")).as("bytes"),
            lit(EDGES_VERSION).as("edges_version"),
          ])
          .where("repository.id", "=", p.repositoryId)
          .where(isLive),
      )
      // The same bytes may be pushed again because the stored ones are damaged. What else a digest has, its media type and what is read of the
      // bytes by it, is its first writer's: others have pulled it, and tags and indexes name it as what it is.
      .onConflict((conflict) =>
        hasToBeNew
          ? conflict.columns(["repository_id", "digest"]).doNothing()
          : conflict
              .columns(["repository_id", "digest"])
              .doUpdateSet((eb) => ({ bytes: eb.ref("excluded.bytes"), edges_version: eb.ref("excluded.edges_version") }))
              .whereRef("manifest.media_type", "=", "excluded.media_type"),
      )
      .returning("id"),
  );

const insert = insertAs("manifests.insert", false);
// Tells for certain that it was not there, whoever pushes it at the same time.
const insertNew = insertAs("manifests.insertNew", true);

const putBlobEdges = statement<{ repositoryId: number; manifestId: number; blobIds: number[] }>()(
  "manifests.putBlobEdges",
  (db, p, tools) =>
    db
      .insertInto("manifest_blob")
      .columns(["repository_id", "blob_id", "manifest_id"])
      .expression((eb) =>
        eb
          .selectFrom(tools.rows(p.blobIds, "bigint").as("held"))
          .select((each) => [each.val(p.repositoryId).as("repository_id"), "held.value", each.val(p.manifestId).as("manifest_id")])
          .where(({ lit }) => lit(true)),
      )
      .onConflict((conflict) => conflict.doNothing()),
);

// The sum is null where the lease is, and no index of leases fits it: that one may hold a million dead links.
const holdLinks = statement<{ repositoryId: number; blobIds: number[] }>()("manifests.holdLinks", (db, p, tools) =>
  db
    .updateTable("repository_blob")
    .set({ leased_until: null })
    .where("repository_id", "=", p.repositoryId)
    .where(({ ref }) => tools.inList(ref("blob_id"), p.blobIds, "bigint"))
    .where(({ eb, lit }) => eb(eb("leased_until", "+", lit(0)), "is not", null)),
);

const putSparse = statement<{ repositoryId: number; manifestId: number; digests: string[] }>()("manifests.putSparse", (db, p, tools) =>
  db
    .insertInto("manifest_sparse_blob")
    .columns(["repository_id", "digest", "manifest_id"])
    .expression((eb) =>
      eb
        .selectFrom(tools.rows(p.digests, "text").as("absent"))
        .select((each) => [each.val(p.repositoryId).as("repository_id"), "absent.value", each.val(p.manifestId).as("manifest_id")])
        .where(({ lit }) => lit(true)),
    )
    .onConflict((conflict) => conflict.doNothing()),
);

const putChildEdges = statement<{ repositoryId: number; manifestId: number; digests: string[] }>()(
  "manifests.putChildEdges",
  (db, p, tools) =>
    db
      .insertInto("manifest_child")
      .columns(["manifest_id", "repository_id", "child_digest"])
      .expression((eb) =>
        eb
          .selectFrom(tools.rows(p.digests, "text").as("child"))
          .select((each) => [each.val(p.manifestId).as("manifest_id"), each.val(p.repositoryId).as("repository_id"), "child.value"])
          .where(({ lit }) => lit(true)),
      )
      .onConflict((conflict) => conflict.doNothing()),
);

const lockByDigest = statement<{ repositoryId: number; digest: string }>()("manifests.lock", (db, p, tools) =>
  db
    .selectFrom("manifest")
    .select("id")
    .where("repository_id", "=", p.repositoryId)
    .where("digest", "=", p.digest)
    .modifyEnd(tools.lock("update")),
);

const listHeld = statement<{ manifestId: number }>()("manifests.listHeld", (db, p) =>
  db
    .selectFrom("manifest_blob")
    .select("blob_id")
    .where("manifest_id", "=", p.manifestId)
    .unionAll(
      db
        .selectFrom("manifest_sparse_blob")
        .innerJoin("blob", "blob.digest", "manifest_sparse_blob.digest")
        .select("blob.id as blob_id")
        .where("manifest_id", "=", p.manifestId),
    ),
);

const dropSparse = statement<{ manifestId: number }>()("manifests.dropSparse", (db, p) =>
  db.deleteFrom("manifest_sparse_blob").where("manifest_id", "=", p.manifestId),
);

const dropBlobEdges = statement<{ manifestId: number }>()("manifests.dropBlobEdges", (db, p) =>
  db.deleteFrom("manifest_blob").where("manifest_id", "=", p.manifestId),
);

const dropChildEdges = statement<{ manifestId: number }>()("manifests.dropChildEdges", (db, p) =>
  db.deleteFrom("manifest_child").where("manifest_id", "=", p.manifestId),
);

const drop = statement<{ manifestId: number }>()("manifests.drop", (db, p) => db.deleteFrom("manifest").where("id", "=", p.manifestId));

const lockLinks = statement<{ repositoryId: number; blobIds: number[] }>()("manifests.lockLinks", (db, p, tools) =>
  db
    .selectFrom("repository_blob")
    .select("blob_id")
    .where("repository_id", "=", p.repositoryId)
    .where(({ ref }) => tools.inList(ref("blob_id"), p.blobIds, "bigint"))
    .orderBy("blob_id")
    .modifyEnd(tools.lock("update")),
);

const leaseUnheld = statement<{ repositoryId: number; blobIds: number[]; until: number }>()("manifests.leaseUnheld", (db, p, tools) =>
  db
    .updateTable("repository_blob")
    .set({ leased_until: p.until })
    .where("repository_id", "=", p.repositoryId)
    .where(({ ref }) => tools.inList(ref("blob_id"), p.blobIds, "bigint"))
    .where(({ not, exists, selectFrom }) =>
      not(
        exists(
          selectFrom("manifest_blob")
            .select("manifest_id")
            .whereRef("manifest_blob.repository_id", "=", "repository_blob.repository_id")
            .whereRef("manifest_blob.blob_id", "=", "repository_blob.blob_id"),
        ),
      ),
    ),
);

/** Opens the manifests of a database. */
export function createManifests(
  database: Database,
  clock: Clock,
  times: LeaseTimes,
  { changes, rules = NO_RULES }: { readonly changes: ChangeSink<ContentChange>; readonly rules?: ContentRules },
): Manifests {
  const cached = new LRUCache<number, Uint8Array>({ maxSize: BYTES_CACHE_BYTES, sizeCalculation: (bytes) => bytes.length + 100 });

  const lookUpTag = createLookUp(database, {
    one: findByTag,
    many: findManyByTag,
    manyOf: (keys) => ({ repositoryIds: keys.map((key) => key.repositoryId), tags: keys.map((key) => key.tag) }),
    idOfKey: (key) => `${key.repositoryId}:${key.tag}`,
    idOfRow: (row) => `${row.repository_id}:${row.name}`,
    toValue: manifestRow,
  });
  const lookUpDigest = createLookUp(database, {
    one: findByDigest,
    many: findManyByDigest,
    manyOf: (keys) => ({ repositoryIds: keys.map((key) => key.repositoryId), digests: keys.map((key) => key.digest) }),
    idOfKey: (key) => `${key.repositoryId}:${key.digest}`,
    idOfRow: (row) => `${row.repository_id}:${row.digest}`,
    toValue: manifestRow,
  });

  async function loadBytes(manifest: ManifestRow): Promise<Uint8Array> {
    const row = await database.first(readBytes, { id: manifest.id });
    if (row === undefined) throw new RegistryError("MANIFEST_UNKNOWN", { detail: { digest: manifest.digest } });
    // Once for each time that it comes into memory; damage to the database's file is otherwise seen by clients alone.
    if (digestOf(row.bytes, algorithmOf(manifest.digest)) !== manifest.digest) {
      const cause = new Error(`the stored bytes of manifest ${manifest.digest} have another digest`);
      throw new RegistryError("BLOB_DAMAGED", { detail: { digest: manifest.digest }, cause });
    }
    if (row.bytes.length <= BYTES_CACHE_MAX_ENTRY) cached.set(manifest.id, row.bytes);
    return row.bytes;
  }

  return {
    findByTag: ({ id }, tag) => lookUpTag({ repositoryId: id, tag }),
    findByDigest: ({ id }, digest) => lookUpDigest({ repositoryId: id, digest }),

    // Ids are never used again and bytes never change, so what is cached is right for as long as the row was just found.
    readBytes: (manifest) => cached.get(manifest.id) ?? loadBytes(manifest),

    put: (given, put) =>
      repositoryTransaction(database, given, async (tx, repository) => {
        const { grant, id: repositoryId } = repository;
        const { digest, bytes, parsed, tags, condition, mayBeSparse } = put;
        const now = clock.now();
        const { blobIds, absent } = await checkBlobs(tx, repositoryId, parsed, mayBeSparse);
        const row: InsertParameters = {
          repositoryId,
          digest,
          mediaType: parsed.mediaType,
          artifactType: parsed.artifactType ?? null,
          subject: parsed.subject?.digest ?? null,
          sizeBytes: bytes.length,
          annotations: Object.keys(parsed.annotations).length === 0 ? null : JSON.stringify(parsed.annotations),
          now,
          bytes,
        };
        const quota = quotaOf(grant, rules);
        const added = quota === undefined ? undefined : await tx.first(insertNew, row);
        const inserted = added ?? (await tx.first(insert, row));
        if (inserted === undefined) throw await notStored(tx, repositoryId, put);
        const manifestId = inserted.id;
        if (blobIds.length > 0) {
          await tx.run(putBlobEdges, { repositoryId, manifestId, blobIds }, PUSHED_AGAIN);
          await tx.run(
            holdLinks,
            { repositoryId, blobIds },
            { any: "links without a lease stay as they are; the edges prove that all are there" },
          );
        }
        // Held by their digests, whether or not the repository has them: they may be manifests, may come later, may never come.
        const digests = [...absent, ...parsed.alsoNamed];
        if (digests.length > 0) await tx.run(putSparse, { repositoryId, manifestId, digests }, PUSHED_AGAIN);
        if (parsed.children.length > 0) {
          const children = parsed.children.map((child) => child.digest);
          await tx.run(putChildEdges, { repositoryId, manifestId, digests: children }, PUSHED_AGAIN);
        }
        const said: ContentChange[] = [{ kind: "manifest.pushed", ...placeOf(repository), digest, mediaType: parsed.mediaType }];
        if (added !== undefined) await quota?.take(tx, grant, bytes.length, undefined);
        // Always in this order, so that of two pushes of the same tags none waits for the other in a ring.
        for (const tag of tags.toSorted()) {
          said.push(...(await setTag(tx, repository, { tag, manifestId, digest, condition }, { clock, changes, rules })));
        }
        // Together: a manifest and its tags are one statement.
        await changes.record(tx, grant.actor, said);
        return absent;
      }),

    delete(given, digest) {
      const work = async (tx: Executor, repository: GrantedRepository<"delete">): Promise<void> => {
        const { grant, id: repositoryId } = repository;
        const row = await tx.first(lockByDigest, { repositoryId, digest });
        if (row === undefined) throw new RegistryError("MANIFEST_UNKNOWN", { detail: { digest } });
        const manifestId = row.id;
        await deleteTagsOf(tx, repository, { manifestId, digest }, { clock, changes, rules });
        const blobIds = (await tx.all(listHeld, { manifestId })).map((held) => held.blob_id);
        for (const dropEdges of [dropBlobEdges, dropSparse, dropChildEdges]) await tx.run(dropEdges, { manifestId }, ALL_THERE_ARE);
        await tx.run(drop, { manifestId }, 1);
        await changes.record(tx, grant.actor, [{ kind: "manifest.deleted", ...placeOf(repository), digest }]);
        // Whoever was told that these blobs exist may be pushing an image of them: they stay for a whole lease from now.
        if (blobIds.length > 0) {
          // Of two deletions that take a blob's last two holders at once, the second waits here and then sees that none is left.
          await tx.all(lockLinks, { repositoryId, blobIds });
          // The lease begins here: while the locks were waited for, somebody may have been told that a blob exists.
          await tx.run(
            leaseUnheld,
            { repositoryId, blobIds, until: clock.now() + times.leaseMs },
            { any: "other manifests hold the rest" },
          );
        }
      };
      return repositoryTransaction(database, given, work, ON_FULL_DISK);
    },
  };
}

function manifestRow(row: { id: number; digest: string; media_type: string; size_bytes: number }): ManifestRow {
  return { id: row.id, digest: row.digest as Digest, mediaType: row.media_type, sizeBytes: row.size_bytes };
}

/** Why a push found no row of its own: the digest has another media type here, or the repository has been deleted. */
async function notStored(tx: Executor, repositoryId: number, { digest, parsed }: ManifestPut): Promise<Error> {
  const stored = await tx.first(findByDigest, { repositoryId, digest });
  if (stored === undefined || stored.media_type === parsed.mediaType) return repositoryDeleted();
  return new RegistryError("MANIFEST_INVALID", {
    message: `manifest invalid: this repository has the same bytes as ${stored.media_type}: push them with that Content-Type, or put the other media type into the manifest, which gives it a digest of its own`,
    detail: { digest, mediaType: parsed.mediaType, storedMediaType: stored.media_type },
  });
}

/** The repository's blobs that a manifest names, and the layers that it does not have. */
async function checkBlobs(
  tx: Executor,
  repositoryId: number,
  parsed: ParsedManifest,
  mayBeSparse: boolean,
): Promise<{ blobIds: number[]; absent: Digest[] }> {
  if (parsed.blobs.length === 0) return { blobIds: [], absent: [] };
  const linked = await tx.all(listLinked, { repositoryId, digests: parsed.blobs.map((blob) => blob.digest) });
  const byDigest = new Map(linked.map((row) => [row.digest, row]));
  const absent = parsed.blobs.filter((blob) => !byDigest.has(blob.digest)).map((blob) => blob.digest);
  if (absent.length > 0 && !(mayBeSparse && isSparseImage(parsed, absent))) {
    throw new RegistryError("MANIFEST_BLOB_UNKNOWN", { detail: { missing: absent.slice(0, 20) } });
  }
  for (const blob of parsed.blobs) {
    const stored = byDigest.get(blob.digest);
    if (stored !== undefined && stored.size_bytes !== blob.sizeBytes) {
      throw new RegistryError("MANIFEST_INVALID", {
        message: "manifest invalid: a descriptor's size differs from the blob's",
        detail: { digest: blob.digest, sizeBytes: blob.sizeBytes, storedSizeBytes: stored.size_bytes },
      });
    }
  }
  // In one order, so that two pushes that share blobs cannot wait for each other.
  return { blobIds: linked.map((row) => row.id).sort((a, b) => a - b), absent };
}

// A sparse image has its config and some of its layers here. Of anything less, nothing could be used: that is a mistake of the pusher's.
function isSparseImage(parsed: ParsedManifest, absent: readonly Digest[]): boolean {
  return parsed.config !== undefined && !absent.includes(parsed.config.digest) && absent.length < parsed.blobs.length - 1;
}
