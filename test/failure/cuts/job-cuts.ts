// Safety lines of jobs, of reactions to changes, and of key rotation. Not here: those of content and access (cuts.ts).
import type { Cut } from "./cuts.ts";

const SERVER = "apps/server/src";

/** All of them. */
export const JOB_CUTS: readonly Cut[] = [
  {
    invariant: 17,
    what: "a job whose process died goes to another when its lease has ended",
    file: `${SERVER}/events/job-runner.ts`,
    from: "if (leasedUntil <= now) await giveBackExpired();",
    to: "",
    test: `${SERVER}/events/jobs.test.ts`,
    name: "of a process that died go to another within the lease",
  },
  {
    invariant: 17,
    what: "a run whose job another process has writes nothing",
    file: `${SERVER}/events/job-runs.ts`,
    from: "if (!(await store.holds(tx, job))) throw new JobLostError(job.id);",
    to: "await store.holds(tx, job);",
    test: `${SERVER}/events/job-runs.test.ts`,
    name: "that do not end when they are told to are given up",
  },
  {
    invariant: 17,
    what: "a run whose job another process has does not end it",
    file: `${SERVER}/events/job-statements.ts`,
    from: 'error: p.error, holder: null })\n    .where("id", "=", p.id)\n    .where("fence", "=", p.fence)',
    to: 'error: p.error, holder: null })\n    .where("id", "=", p.id)',
    test: `${SERVER}/events/job-runs.test.ts`,
    name: "that were taken over while they ran touch nothing",
  },
  {
    invariant: 17,
    what: "a job that ends in a transaction of its work has not ended before its commit, nor twice",
    file: `${SERVER}/events/job-runs.ts`,
    from: "if (!(await store.endIn(tx, job, clock.now()))) throw new JobLostError(job.id);",
    to: "await store.endIn(tx, job, clock.now());",
    test: `${SERVER}/events/job-runs.test.ts`,
    name: "that end in a transaction of their work",
  },
  {
    invariant: 17,
    what: "a run that does not end when it is told to is given up",
    file: `${SERVER}/events/job-runs.ts`,
    from: "await Promise.race([whole, limit.promise])",
    to: "await whole",
    test: `${SERVER}/events/job-runs.test.ts`,
    name: "that do not end when they are told to are given up",
  },
  {
    invariant: 17,
    what: "what follows from a change is asked for in the transaction that takes the change away",
    file: `${SERVER}/events/outbox.ts`,
    from: "      await askFor(tx, rows);\n",
    to: "      setTimeout(() => void database.transaction((later) => askFor(later, rows)), 20);\n",
    test: "test/failure/jobs-killed.test.ts",
    name: "are neither lost, doubled nor stuck on SQLite",
    rounds: 40,
  },
  {
    invariant: 17,
    what: "a change whose reaction fails is set aside, and holds up no other",
    file: `${SERVER}/events/outbox.ts`,
    from: "        return dispatchOneByOne();",
    to: "        throw error;",
    test: `${SERVER}/events/outbox.test.ts`,
    name: "sets aside what nothing can follow from",
  },
  {
    invariant: 10,
    what: "a process with another secret key makes no key for tokens",
    file: `${SERVER}/access/signing-keys.ts`,
    from: "      openKey(current);\n",
    to: "",
    test: `${SERVER}/access/tokens.test.ts`,
    name: "makes the next key ahead of who signs, and none with another secret key",
  },
];
