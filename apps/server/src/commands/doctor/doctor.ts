// Doctor: compares database and store while everything goes on, says what differs, and repairs what can be repaired without a guess.
// Every finding is looked at a second time before it is told, because content comes and goes meanwhile.
// Not here: SQL (doctor-store.ts), the checks one by one (check-blobs.ts, check-store.ts, check-edges.ts, check-usage.ts, check-changes.ts).
import type { LeaseTimes } from "../../content/blobs.ts";
import type { BlobStore, StorageKey } from "../../content/blobs/blob-store.ts";
import type { Clock } from "../../platform/clock.ts";
import type { Database, Executor } from "../../platform/database/database.ts";
import type { RateLimiter } from "../../platform/rate-limiter.ts";
import { StartupError } from "../../platform/startup-error.ts";
import { checkBlobs } from "./check-blobs.ts";
import { checkChanges } from "./check-changes.ts";
import { checkEdges, checkManifests } from "./check-edges.ts";
import { checkStore } from "./check-store.ts";
import { checkUsage } from "./check-usage.ts";
import { listBlobs } from "./doctor-store.ts";

/**
 * What can be wrong:
 * - `blob-missing`, `blob-wrong-size`, `blob-rotten`: the bytes are gone, cut off, or others. Repair: marked damaged, so that pulls say so
 *   and a push brings the bytes again.
 * - `blob-damaged`: was marked so before; a push heals it.
 * - `blob-well`: marked damaged, but its bytes are whole (found by `--deep`). Repair: the mark goes.
 * - `key-orphan`: bytes that no row names. Repair: left to the collector.
 * - `link-kept`: nothing holds a blob of a repository, but it has no lease to run out. Repair: a lease from now.
 * - `lease-late`: something holds it, but its lease ran out over an hour ago and no collector noticed: none runs.
 * - `reclaim-late`: bytes that should have been deleted a day ago.
 * - `edge-crossed`, `edge-missing`, `edge-surplus`: what the tables say of a manifest is not what it says itself.
 * - `manifest-rotten`: a manifest's bytes do not have its digest.
 * - `manifest-refused`: a manifest was taken by an earlier release and would be refused today, for instance as one that two clients read as
 *   two images. Look at it, and push it anew or delete it.
 * - `usage-wrong`: usage that is shown is not what a recount gives. Repair: what is missing is added.
 * - `change-set-aside`: nothing could be made to follow from a change, however often it was tried.
 * - `engine`: the database engine's own findings.
 */
export type ProblemKind =
  | "blob-missing"
  | "blob-wrong-size"
  | "blob-rotten"
  | "blob-damaged"
  | "blob-well"
  | "key-orphan"
  | "link-kept"
  | "lease-late"
  | "reclaim-late"
  | "edge-crossed"
  | "edge-missing"
  | "edge-surplus"
  | "manifest-rotten"
  | "manifest-refused"
  | "usage-wrong"
  | "change-set-aside"
  | "engine";

/** Something that is wrong. */
export interface Problem {
  readonly kind: ProblemKind;
  /** A digest, a key, or a table. */
  readonly subject: string;
  readonly detail: string;
  /** Some of the repositories that it concerns. */
  readonly repositories: readonly string[];
  readonly isRepaired: boolean;
}

/** How far it is. `after`: where `--from` of another run would go on, in the phase `blobs`. */
export interface DoctorProgress {
  readonly phase: "blobs" | "store" | "links" | "usage" | "manifests";
  readonly done: number;
  readonly bytes: number;
  readonly after: number | undefined;
}

/** What doctor needs. */
export interface DoctorParts {
  readonly executor: Executor;
  /** Where repairs are written; undefined: it only looks. */
  readonly repairs: Database | undefined;
  readonly store: BlobStore;
  readonly clock: Clock;
  readonly times: LeaseTimes;
  /** Reads every byte and every manifest. */
  readonly isDeep: boolean;
  /** How fast bytes are read in a deep check. */
  readonly rateLimiter: RateLimiter;
  /** The blob's id behind which to begin; other checks run whole. */
  readonly fromId: number;
  /** Bytes without a row are left alone until they are older: an upload may still become a blob. */
  readonly orphanAgeMs: number;
  readonly onProblem: (problem: Problem) => void;
  readonly onProgress: (progress: DoctorProgress) => void;
}

/** What was looked at. */
export interface DoctorResult {
  readonly blobs: number;
  readonly blobBytes: number;
  readonly readBytes: number;
  readonly keys: number;
  readonly keyBytes: number;
  /** Bytes without a row that are too recent to be judged. */
  readonly recentKeys: number;
  readonly links: number;
  /** Repositories and projects whose usage was recounted, and the registry's. */
  readonly usages: number;
  readonly manifests: number;
  readonly problems: Readonly<Partial<Record<ProblemKind, number>>>;
  readonly found: number;
  readonly repaired: number;
}

/** Looks at everything. Errors: UNAVAILABLE where database or store are out of reach: then nothing is said. */
export async function examine(parts: DoctorParts): Promise<DoctorResult> {
  const problems: Partial<Record<ProblemKind, number>> = {};
  let found = 0;
  let repaired = 0;
  const counting: DoctorParts = {
    ...parts,
    onProblem(problem) {
      problems[problem.kind] = (problems[problem.kind] ?? 0) + 1;
      found++;
      if (problem.isRepaired) repaired++;
      parts.onProblem(problem);
    },
  };
  if (parts.repairs !== undefined) await refuseWrongStore(parts);
  const blobs = await checkBlobs(counting);
  const store = await checkStore(counting);
  const links = await checkEdges(counting);
  const usages = await checkUsage(counting);
  await checkChanges(counting);
  const manifests = parts.isDeep ? await checkManifests(counting) : 0;
  return { ...blobs, ...store, links, usages, manifests, problems, found, repaired };
}

/** A directory that is not mounted, or a wrong prefix, looks like a store that lost everything: too much to record on a guess. */
async function refuseWrongStore({ executor, store, fromId }: DoctorParts): Promise<void> {
  const keys = (await executor.all(listBlobs, { after: fromId })).map((row) => row.storage_key).filter((key) => key !== null);
  for (const key of keys) if ((await store.stat(key as StorageKey)) !== undefined) return;
  if (keys.length === 0) return;
  throw new StartupError(
    `The store holds none of the first ${keys.length} blobs that the database names. Is it the right one? Nothing was repaired.`,
  );
}
