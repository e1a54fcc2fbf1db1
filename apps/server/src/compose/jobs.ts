// The background work: the kinds of jobs, and who runs them.
// Not here: when they run (compose.ts, roles/), what they may take (content/garbage.ts), the steps of collection (distribution/collector.ts).
import { randomBytes } from "node:crypto";
import { hostname } from "node:os";
import { isReported } from "@berth/oci/errors";
import { createAccounts } from "../access/accounts.ts";
import { createAuthorizer } from "../access/authorize.ts";
import { createOutsideSignIn } from "../access/outside-identities.ts";
import type { ProjectTrait } from "../access/project-traits.ts";
import { createSigningKeys } from "../access/signing-keys.ts";
import { createManifests } from "../content/manifests.ts";
import { type ContentRules, NO_RULES } from "../content/rules.ts";
import { createTags } from "../content/tags.ts";
import { readOlderManifests } from "../content/older-manifests.ts";
import { sortTags } from "../content/unsorted-tags.ts";
import { createRepositoryRemoval } from "../content/repository-removal.ts";
import { foldUsage, USAGE_FOLD_BATCH } from "../content/usage.ts";
import type { CollectorRound } from "../distribution/collector.ts";
import type { JobKind, JobOutcome, JobSchedule } from "../events/job-kinds.ts";
import { createJobRunner, type JobRunner } from "../events/job-runner.ts";
import { JOB_RESULTS } from "../events/job-runs.ts";
import { createJobStore } from "../events/job-store.ts";
import { CHANGES_TOPIC, REACTION } from "../events/outbox.ts";
import { auditKinds } from "./audit-jobs.ts";
import { deletionKind } from "../features/deletions/deletion-job.ts";
import { dropExpiredPlan } from "../features/deletions/deletion-store.ts";
import { HOUR_MS, SECOND_MS } from "../platform/clock.ts";
import { REPOSITORY_REMOVAL } from "../reactions.ts";
import { DELETIONS } from "../tables.ts";
import { composeCollection } from "./collection.ts";
import type { Content } from "./content.ts";
import { directoryKinds } from "./directories.ts";
import { webhookKinds } from "./webhooks.ts";
import { leaseTimes, type Foundation, type RoleContext } from "./foundation.ts";

/** Meanwhile a thousand pushes a second leave a few thousand changes of usage, which a read sums in milliseconds. */
const UPKEEP = { everyMs: SECOND_MS, jitterMs: SECOND_MS / 10 };
/** For kinds that are requested at once when needed, or report that there is more: an idle registry should cost next to nothing. */
const RARE_UPKEEP = { everyMs: 10 * SECOND_MS, jitterMs: SECOND_MS };
/** A database that is unreachable for an hour must not fill the log. */
const UPKEEP_RETRY = { attempts: 1, firstDelayMs: SECOND_MS, maxDelayMs: 60 * SECOND_MS };
/** A batch takes milliseconds, and some seconds on an overloaded database. */
const BATCH_TIMEOUT_MS = 60 * SECOND_MS;

/** The longest run, so that other jobs get their turn. */
const DISPATCH_MS = SECOND_MS;
/**
 * A failing reaction is most often a defect of the program: the retries last long enough for another version that is already running, but
 * not for ever.
 */
const REACTION_RETRY = { attempts: 10, firstDelayMs: 2 * SECOND_MS, maxDelayMs: 600 * SECOND_MS };

/** Long before the newest key ends (a tenth of its life, at least two hours), and so rarely that nobody notices. */
const KEY_ROTATION = { cron: "17 * * * *", timeZone: "UTC", jitterMs: 600 * SECOND_MS };
const KEY_ROTATION_RETRY = { attempts: 3, firstDelayMs: 10 * SECOND_MS, maxDelayMs: 60 * SECOND_MS };

/** The bound of the count of failed jobs. */
const FAILED_BOUND = 1000;

/** The background work of a process. */
export interface BackgroundWork {
  start(): void;
  stop(): Promise<void>;
  /** One round of collection at once, for a command; the same errors as `Collector.runOnce`. */
  collectOnce(): Promise<CollectorRound>;
}

/** What features bring to the work on content. A project with something that is not known here is left alone (access/project-traits.ts). */
interface JobPorts {
  readonly traits: readonly ProjectTrait[];
  readonly rules: ContentRules;
}

/** Builds the background work; nothing runs before its `start` or `collectOnce`. */
export function composeJobs(
  roleContext: RoleContext,
  foundation: Foundation,
  content: Content,
  { traits, rules }: JobPorts = { traits: [], rules: NO_RULES },
): BackgroundWork {
  const { config } = roleContext;
  const { sessions, changes, outbox, repositories } = content;
  const { database, clock, directories } = foundation;
  const { collector, kinds } = composeCollection(roleContext, foundation, sessions);
  const accounts = createAccounts({ database, clock, traits });
  const outside = createOutsideSignIn({ database, clock, accounts, changes });
  const removeDeleted = createRepositoryRemoval(database, clock, leaseTimes(config), DELETIONS.repository);
  const runner = composeRunner(roleContext, foundation, [
    upkeepKind("usage-folding", async () => (await foldUsage(database, USAGE_FOLD_BATCH)) === USAGE_FOLD_BATCH),
    upkeepKind(REPOSITORY_REMOVAL, removeDeleted, RARE_UPKEEP),
    dispatchKind(outbox),
    { kind: REACTION, concurrency: 1, timeoutMs: BATCH_TIMEOUT_MS, retry: REACTION_RETRY, run: (job) => outbox.react(job) },
    upkeepKind("older-manifests", () => readOlderManifests(database), RARE_UPKEEP),
    upkeepKind("tag-sorting", () => sortTags(database), RARE_UPKEEP),
    keyRotationKind(roleContext, foundation),
    ...webhookKinds(roleContext, foundation),
    ...directoryKinds(roleContext, { database, clock, accounts, changes, outside, directories }),
    ...kinds,
    deletionKind({
      database,
      accounts,
      authorizer: createAuthorizer({ accounts, database, clock }),
      repositories,
      manifests: createManifests(database, clock, leaseTimes(config), { changes, rules }),
      tags: createTags(database, clock, changes, rules),
    }),
    ...auditKinds(roleContext, foundation),
    upkeepKind("deletion-plans", () => dropExpiredPlan(database, clock.now()), RARE_UPKEEP),
  ]);
  return {
    start: runner.start,
    stop: runner.stop,
    async collectOnce() {
      // First the content of deleted repositories, so that the round finds what only they linked; afterwards those that waited for an
      // upload's end.
      while (await removeDeleted());
      const round = await collector.runOnce();
      while (await removeDeleted());
      return round;
    },
  };
}

/** Upkeep in small batches that never ends, and that should not wait for a round of the collector. `step` returns whether there is more. */
function upkeepKind(kind: string, step: () => Promise<boolean>, schedule: JobSchedule = UPKEEP): JobKind {
  return {
    kind,
    concurrency: 1,
    timeoutMs: BATCH_TIMEOUT_MS,
    retry: UPKEEP_RETRY,
    schedule,
    run: async (): Promise<JobOutcome | void> => ((await step()) ? "more" : undefined),
  };
}

/** Started by the commits that record changes; its schedule is for missed notices. */
function dispatchKind(outbox: Pick<Content["outbox"], "dispatch">): JobKind {
  return {
    kind: "dispatch",
    concurrency: 1,
    timeoutMs: BATCH_TIMEOUT_MS,
    retry: UPKEEP_RETRY,
    schedule: RARE_UPKEEP,
    topic: CHANGES_TOPIC,
    async run({ signal }): Promise<JobOutcome | void> {
      const until = performance.now() + DISPATCH_MS;
      while (await outbox.dispatch()) if (signal.aborted || performance.now() > until) return "more";
    },
  };
}

/** Rotates keys ahead of time, so that no login waits for a key. Without background work, the login that needs a key makes it. */
function keyRotationKind({ config, masterKey }: RoleContext, { database, clock }: Foundation): JobKind {
  const keys = createSigningKeys({ database, clock, masterKey, signsForMs: config.auth.signingKeyRotationDays * 24 * HOUR_MS });
  return {
    kind: "key-rotation",
    concurrency: 1,
    timeoutMs: BATCH_TIMEOUT_MS,
    retry: KEY_ROTATION_RETRY,
    schedule: KEY_ROTATION,
    run: () => keys.renew(),
  };
}

function composeRunner({ logger, tracing }: RoleContext, { database, clock, metrics }: Foundation, kinds: readonly JobKind[]): JobRunner {
  const endings = kinds.flatMap(({ kind }) => JOB_RESULTS.map((result) => ({ labels: { kind, result }, value: 0 })));
  const ended = new Map(endings.map((each) => [`${each.labels.kind} ${each.labels.result}`, each]));
  const seconds = new Map(kinds.map(({ kind }) => [kind, { labels: { kind }, value: 0 }]));
  metrics.addCounters("jobs_ended_total", "Runs of jobs that ended here, by kind and by what became of them.", () => endings);
  metrics.addCounters("jobs_seconds_total", "Time that runs of jobs took, by kind.", () => [...seconds.values()]);
  const store = createJobStore(database);
  let failed = 0;
  metrics.addRefresh(async () => {
    failed = await store.countFailed(FAILED_BOUND);
  });
  metrics.addGauge(
    "jobs_failed",
    `Jobs of all replicas whose attempts all failed and that wait for somebody to look at them, up to ${FAILED_BOUND}.`,
    () => failed,
  );
  return createJobRunner({
    store,
    kinds,
    clock,
    holder: `${hostname()} ${process.pid} ${randomBytes(4).toString("hex")}`,
    isAlone: database.dialect === "sqlite",
    onError: (error, job) => {
      if (!isReported(error)) logger.error({ err: error, job: job?.kind, subject: job?.subject, attempt: job?.attempt }, "a job failed");
    },
    onEnd(kind, result, took) {
      ended.get(`${kind} ${result}`)!.value++;
      seconds.get(kind)!.value += took;
    },
    traced: tracing?.job,
  });
}
