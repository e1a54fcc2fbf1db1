// Doctor: compares database and store while the registry runs, reports differences, and repairs what can be repaired without guessing.
// Every finding is checked a second time before it is reported, because content is pushed and deleted meanwhile.
// Not here: SQL (doctor-store.ts), the single checks (check-blobs.ts, check-store.ts, check-edges.ts, check-usage.ts, check-changes.ts).
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
 * The kinds of problems:
 * - `blob-missing`, `blob-wrong-size`, `blob-rotten`: the bytes are missing, truncated, or wrong. Repair: the blob is marked damaged, so
 * that pulls
 *   fail clearly and a push brings the bytes again.
 * - `blob-damaged`: it was already marked; a push heals it.
 * - `blob-well`: marked damaged, but its bytes are intact (found by `--deep`). Repair: the mark is cleared.
 * - `key-orphan`: bytes that no row names. Repair: they are queued for the collector.
 * - `link-kept`: nothing holds a blob of a repository, but it has no lease that could end. Repair: a lease from now.
 * - `lease-late`: something holds it, but its lease ended over an hour ago and no collector noticed: none runs.
 * - `reclaim-late`: bytes that should have been deleted a day ago.
 * - `edge-crossed`, `edge-missing`, `edge-surplus`: the tables and a manifest disagree about what it names.
 * - `manifest-rotten`: a manifest's bytes do not have its digest.
 * - `manifest-refused`: an earlier release accepted a manifest that would be refused today, for example because two clients read it as
 *   two images. Examine it, and push it again or delete it.
 * - `usage-wrong`: a usage counter differs from the recount. Repair: the difference is added.
 * - `change-set-aside`: the reaction to a change failed in every attempt.
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

/** One problem. */
export interface Problem {
  readonly kind: ProblemKind;
  /** A digest, a key, or a table. */
  readonly subject: string;
  readonly detail: string;
  /** Some of the affected repositories. */
  readonly repositories: readonly string[];
  readonly isRepaired: boolean;
}

/** The progress. `after`: in the phase `blobs`, where another run with `--from` would continue. */
export interface DoctorProgress {
  readonly phase: "blobs" | "store" | "links" | "usage" | "manifests";
  readonly done: number;
  readonly bytes: number;
  readonly after: number | undefined;
}

/** The parts that doctor needs. */
export interface DoctorParts {
  readonly executor: Executor;
  /** The database for repairs; undefined: it only checks. */
  readonly repairs: Database | undefined;
  readonly store: BlobStore;
  readonly clock: Clock;
  readonly times: LeaseTimes;
  /** Reads every byte and every manifest. */
  readonly isDeep: boolean;
  /** The rate at which a deep check reads bytes. */
  readonly rateLimiter: RateLimiter;
  /** The blob's id after which to begin; other checks run completely. */
  readonly fromId: number;
  /** Bytes without a row are ignored until they have this age: an upload may still become a blob. */
  readonly orphanAgeMs: number;
  readonly onProblem: (problem: Problem) => void;
  readonly onProgress: (progress: DoctorProgress) => void;
}

/** The numbers of what was checked. */
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

/** Checks everything. Errors: UNAVAILABLE if database or store cannot be reached: then nothing is reported. */
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

/** An unmounted directory, or a wrong prefix, looks like a store that lost everything: that is too much to record on a guess. */
async function refuseWrongStore({ executor, store, fromId }: DoctorParts): Promise<void> {
  const keys = (await executor.all(listBlobs, { after: fromId })).map((row) => row.storage_key).filter((key) => key !== null);
  for (const key of keys) if ((await store.stat(key as StorageKey)) !== undefined) return;
  if (keys.length === 0) return;
  throw new StartupError(
    `The store holds none of the first ${keys.length} blobs that the database names. Is it the right one? Nothing was repaired.`,
  );
}
