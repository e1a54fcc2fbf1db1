// The run of a plan: one item after the other, each in a transaction of its own that deletes it only where it is what was planned, for the account
// that asked and as long as that may. A run that ends anywhere goes on where it was. Not here: the plan (deletions.ts), when it runs (compose/jobs.ts).
import { RegistryError } from "@berth/oci/errors";
import type { Digest } from "@berth/oci/digest";
import { parseRepositoryName, type Tag } from "@berth/oci/reference";
import type { Accounts } from "../../access/accounts.ts";
import type { Authorizer } from "../../access/authorize.ts";
import { recallCaller, type StoredCaller } from "../../access/stored-caller.ts";
import type { Manifests } from "../../content/manifests.ts";
import type { Repositories } from "../../content/repositories.ts";
import type { Tags } from "../../content/tags.ts";
import type { JobKind, RunningJob } from "../../events/job-kinds.ts";
import { SECOND_MS } from "../../platform/clock.ts";
import { type Database, type Executor, ON_FULL_DISK } from "../../platform/database/database.ts";
import { findPlanOfJob, type ItemRow, listPlanItems, lockPlan, putOutcome, setPlanState } from "./deletion-store.ts";

/** The job's kind. Its subject is the plan. */
export const DELETION = "bulk-deletion";

/** What the job knows besides its plan: who asked, with the epoch that ends with the account's password. */
export interface DeletionPayload {
  readonly caller: StoredCaller;
}

/** What it needs. */
export interface DeletionJobParts {
  readonly database: Database;
  readonly accounts: Pick<Accounts, "findCredential">;
  readonly authorizer: Pick<Authorizer, "authorize">;
  readonly repositories: Pick<Repositories, "find">;
  readonly manifests: Pick<Manifests, "delete">;
  readonly tags: Pick<Tags, "delete">;
}

const RETRY = { attempts: 5, firstDelayMs: SECOND_MS, maxDelayMs: 60 * SECOND_MS };
/** Of one run, behind which other jobs have their turn. */
const RUN_MS = 10 * SECOND_MS;
/** Of one run that is held up by its database. */
const TIMEOUT_MS = 120 * SECOND_MS;
const BATCH = 200;
const FAILED_OFTEN = "it failed again and again: the job says why";
/** After these nothing more can be done for the account. */
const OVER: ReadonlySet<string> = new Set(["UNAUTHORIZED", "NAME_UNKNOWN", "DENIED"]);

/** Makes the kind of job. */
export function deletionKind(parts: DeletionJobParts): JobKind {
  const { database } = parts;

  /** Writes how it ended, with the job. */
  async function end(job: RunningJob, id: number, state: "done" | "failed", error: string | null): Promise<void> {
    await database.transaction(async (tx) => {
      await close(tx, id, state, error);
      await job.endIn(tx);
    }, ON_FULL_DISK);
  }

  async function run(job: RunningJob): Promise<"more" | void> {
    const id = Number(job.subject);
    const until = performance.now() + RUN_MS;
    let after = 0;
    for (;;) {
      const items = await listPlanItems(database, id, after, BATCH);
      if (items.length === 0) return end(job, id, "done", null);
      for (const item of items) {
        after = item.number;
        if (item.outcome !== null || item.because !== null) continue;
        const plan = await findPlanOfJob(database, id);
        // Cancelled, or gone with its repository.
        if (plan?.state !== "running") return end(job, id, "failed", null);
        job.report(plan.deleted + plan.kept, plan.tags + plan.manifests);
        if (job.signal.aborted || performance.now() > until) return "more";
        const outcome = await take(parts, (job.payload as DeletionPayload).caller, plan.name, item);
        if (outcome instanceof RegistryError) return end(job, id, "failed", outcome.message);
        await database.transaction((tx) => putOutcome(tx, id, item.number, outcome), ON_FULL_DISK);
      }
    }
  }

  return {
    kind: DELETION,
    concurrency: 2,
    timeoutMs: TIMEOUT_MS,
    retry: RETRY,
    run,
    failIn: (tx, { subject }) => close(tx, Number(subject), "failed", FAILED_OFTEN),
  };
}

/** Writes how a plan's run ended, unless somebody has cancelled it. */
async function close(tx: Executor, id: number, state: "done" | "failed", error: string | null): Promise<void> {
  const plan = await lockPlan(tx, id);
  if (plan?.state === "running") await setPlanState(tx, id, { state, error, expiresAt: plan.expires_at });
}

/** Deletes one item. Gives the error after which nothing more can be done. */
async function take(
  { accounts, authorizer, repositories, manifests, tags }: DeletionJobParts,
  stored: StoredCaller,
  name: string,
  { tag, digest }: ItemRow,
): Promise<"deleted" | "changed" | "refused" | RegistryError> {
  let repository;
  try {
    const caller = await recallCaller(stored, accounts);
    const grant = await authorizer.authorize(caller, "delete", parseRepositoryName(name));
    repository = await repositories.find(grant);
  } catch (error) {
    if (error instanceof RegistryError && OVER.has(error.code)) return error;
    throw error;
  }
  if (repository === undefined) return new RegistryError("NAME_UNKNOWN");
  const planned = digest as Digest;
  try {
    if (tag === null) await manifests.delete(repository, planned, { isUntagged: true });
    else await tags.delete(repository, tag as Tag, { kind: "match", digests: [planned] });
    return "deleted";
  } catch (error) {
    if (!(error instanceof RegistryError)) throw error;
    switch (error.code) {
      // The run before may have ended between the deletion and its outcome.
      case "MANIFEST_UNKNOWN":
        return "deleted";
      case "PRECONDITION_FAILED":
        return "changed";
      case "DENIED":
        return "refused";
      default:
        throw error;
    }
  }
}
