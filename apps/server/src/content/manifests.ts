// Manifests, their edges to blobs, children and subjects, and the tags that name them: every change of these is one transaction. Not here:
// parsing a manifest's bytes (@berth/oci/manifest), tag pages and histories (tags.ts).
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
import type { LeaseTimes } from "./blobs.ts";
import { type ContentChange, placeOf } from "./changes.ts";
import {
  findByTag,
  findByDigest,
  findManyByTag,
  findManyByDigest,
  readBytes,
  listLinked,
  putBlobEdges,
  holdLinks,
  putSparse,
  putChildEdges,
  lockByDigest,
  listHeld,
  dropSparse,
  dropBlobEdges,
  dropChildEdges,
  drop,
  lockLinks,
  leaseUnheld,
  insert,
  insertNew,
  type InsertParameters,
} from "./manifest-statements.ts";
import { type GrantedRepository, repositoryDeleted, repositoryTransaction } from "./repositories.ts";
import { type ContentRules, NO_RULES, quotaOf } from "./rules.ts";
import { deleteTagsOf, hasTag, setTag, type TagCondition } from "./tags.ts";

/** The cache of manifest bytes, so that a hot pull is one look-up in the database. */
const BYTES_CACHE_BYTES = 32 * 1024 * 1024;
/** Larger manifests are read from the database each time: a few of them would empty the cache. */
const BYTES_CACHE_MAX_ENTRY = 1024 * 1024;

/** Edges of a manifest whose row is locked, so that existing ones stay. */
const PUSHED_AGAIN: ExpectedRows = { any: "the manifest may have been there, with all its edges" };
const ALL_THERE_ARE: ExpectedRows = { any: "a manifest has any number of edges" };

/** A manifest without its bytes. */
export interface ManifestRow {
  readonly id: number;
  readonly digest: Digest;
  readonly mediaType: string;
  readonly sizeBytes: number;
}

/** A push of a manifest. */
export interface ManifestPut {
  readonly digest: Digest;
  readonly bytes: Uint8Array;
  readonly parsed: ParsedManifest;
  readonly tags: readonly Tag[];
  readonly condition: TagCondition;
  /**
   * Whether an image may name layers that the repository does not have, as long as it has the config and one layer; "wholly": it may have none of
   * them, since they come when they are asked for.
   */
  readonly mayBeSparse: boolean | "wholly";
}

/** The manifests of repositories. */
export interface Manifests {
  /** Also undefined if the repository has been deleted, since its id may come from a cache. */
  findByTag(repository: GrantedRepository, tag: Tag): ManifestRow | undefined | Promise<ManifestRow | undefined>;
  /** Also undefined if the repository has been deleted. */
  findByDigest(repository: GrantedRepository, digest: Digest): ManifestRow | undefined | Promise<ManifestRow | undefined>;
  /** The bytes of a row that was just found. Errors: MANIFEST_UNKNOWN if it was deleted meanwhile. */
  readBytes(manifest: ManifestRow): Promise<Uint8Array> | Uint8Array;
  /**
   * Stores a manifest with its edges and tags, durably and all or nothing. Returns the layers that it names and the repository does not
   * have: none, unless the image is sparse and may be.
   * Errors: MANIFEST_BLOB_UNKNOWN, MANIFEST_INVALID (a descriptor's size differs from the blob's; the digest has another media type here),
   * PRECONDITION_FAILED.
   */
  put(repository: GrantedRepository<"push">, put: ManifestPut): Promise<readonly Digest[]>;
  /** Deletes a manifest and all tags that name it; or only one that none names. Errors: MANIFEST_UNKNOWN, PRECONDITION_FAILED. */
  delete(repository: GrantedRepository<"delete">, digest: Digest, condition?: { readonly isUntagged: boolean }): Promise<void>;
}

/** Creates the service for the manifests of a database. */
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
    // Checked each time it enters the cache; otherwise only clients would notice damage to the database's file.
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

    // Ids are never reused and bytes never change, so the cache is right as long as the row was just found.
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
        // Always in this order, so that two pushes of the same tags cannot deadlock.
        const contentBytes = Math.min(bytes.length + parsed.namedBytes, Number.MAX_SAFE_INTEGER);
        for (const tag of tags.toSorted()) {
          said.push(...(await setTag(tx, repository, { tag, manifestId, digest, contentBytes, condition }, { clock, changes, rules })));
        }
        // In one statement for a manifest and its tags.
        await changes.record(tx, grant.actor, said);
        return absent;
      }),

    delete(given, digest, { isUntagged } = { isUntagged: false }) {
      const work = async (tx: Executor, repository: GrantedRepository<"delete">): Promise<void> => {
        const { grant, id: repositoryId } = repository;
        const row = await tx.first(lockByDigest, { repositoryId, digest });
        if (row === undefined) throw new RegistryError("MANIFEST_UNKNOWN", { detail: { digest } });
        const manifestId = row.id;
        if (isUntagged && (await hasTag(tx, manifestId))) throw new RegistryError("PRECONDITION_FAILED", { detail: { digest } });
        await deleteTagsOf(tx, repository, { manifestId, digest }, { clock, changes, rules });
        const blobIds = (await tx.all(listHeld, { manifestId })).map((held) => held.blob_id);
        for (const dropEdges of [dropBlobEdges, dropSparse, dropChildEdges]) await tx.run(dropEdges, { manifestId }, ALL_THERE_ARE);
        await tx.run(drop, { manifestId }, 1);
        await changes.record(tx, grant.actor, [{ kind: "manifest.deleted", ...placeOf(repository), digest }]);
        // A client that was answered that these blobs exist may be pushing an image of them: they stay for a whole lease from now.
        if (blobIds.length > 0) {
          // If two deletions remove a blob's last two holders at once, the second waits here and then sees that none is left.
          await tx.all(lockLinks, { repositoryId, blobIds });
          // The lease begins here: while the locks were waited for, a client may have been answered that a blob exists.
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
  mayBeSparse: ManifestPut["mayBeSparse"],
): Promise<{ blobIds: number[]; absent: Digest[] }> {
  if (parsed.blobs.length === 0) return { blobIds: [], absent: [] };
  const linked = await tx.all(listLinked, { repositoryId, digests: parsed.blobs.map((blob) => blob.digest) });
  const byDigest = new Map(linked.map((row) => [row.digest, row]));
  const absent = parsed.blobs.filter((blob) => !byDigest.has(blob.digest)).map((blob) => blob.digest);
  if (absent.length > 0 && !(mayBeSparse === "wholly" || (mayBeSparse && isSparseImage(parsed, absent)))) {
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
  // In one order, so that two pushes that share blobs cannot deadlock.
  return { blobIds: linked.map((row) => row.id).sort((a, b) => a - b), absent };
}

// A sparse image has its config and some of its layers here. With less it would be useless: that is a mistake of the pusher.
function isSparseImage(parsed: ParsedManifest, absent: readonly Digest[]): boolean {
  return parsed.config !== undefined && !absent.includes(parsed.config.digest) && absent.length < parsed.blobs.length - 1;
}
