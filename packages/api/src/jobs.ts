// Operations on background jobs: what administrators see of them, and how they stop one or have it tried again.
// Not here: their rules (the server's features/jobs), what asks for jobs.
import Type, { type Static } from "typebox";
import { closed, CountField, Nothing, page, PageQuery, ProjectNameField, TimeField } from "./fields.ts";
import { operation } from "./operation.ts";

const JobIdField = Type.String({ pattern: "^[1-9][0-9]{0,14}$", maxLength: 15, description: "A job's number." });

const JobKindField = Type.String({
  pattern: "^[a-z0-9]+(?:-[a-z0-9]+)*$",
  minLength: 1,
  maxLength: 64,
  description: "What kind of work it is, for example repository-removal.",
});

const JobStateField = Type.Enum(["waiting", "ready", "running", "succeeded", "failed", "cancelled"], {
  description:
    "waiting: not due yet; ready: due, until a process takes it; running; succeeded; failed: all attempts failed, and nobody tries again until somebody asks for it; cancelled.",
});

const TimeOrNull = Type.Union([TimeField, Type.Null()]);

const jobFields = {
  id: JobIdField,
  kind: Type.String(),
  subject: Type.String({ description: "What it is about; empty for work on the whole registry." }),
  project: Type.Union([Type.String(), Type.Null()], { description: "Whose it is; null for nobody's, or where the project is gone." }),
  state: JobStateField,
  attempt: Type.Integer({ minimum: 0, description: "The attempt that runs or ran last; 0 before the first." }),
  progress: Type.Union([closed({ done: CountField, total: Type.Union([CountField, Type.Null()]) }), Type.Null()], {
    description: "How far it is, a few seconds ago; null where it says nothing of it.",
  }),
  error: Type.Union([Type.String(), Type.Null()], { description: "Why the last attempt failed." }),
  isCancelled: Type.Boolean({ description: "Whether somebody cancelled it; one that runs ends within moments." }),
  createdAt: TimeField,
  dueAt: Type.Union([TimeField, Type.Null()], { description: "When it begins at the soonest; null once it runs or has ended." }),
  startedAt: TimeOrNull,
  endedAt: TimeOrNull,
};

export const Job = closed(jobFields, { description: "A piece of work in the background." });
/** A job as administrators see it. */
export type JobSummaryView = Static<typeof Job>;

export const JobWithLines = closed(
  {
    ...jobFields,
    lines: Type.Array(closed({ at: TimeField, line: Type.String() }), { description: "What it said, oldest first; the newest 200 lines." }),
  },
  { description: "A job with what it said." },
);
/** The same with its lines. */
export type JobDetailView = Static<typeof JobWithLines>;

const OfJob = closed({ job: JobIdField });

export const listJobs = operation({
  id: "listJobs",
  tag: "jobs",
  method: "GET",
  path: "/jobs",
  summary: "List background jobs: the newest first, and those of one state by when they are due, began to wait or ended, the latest first",
  permission: { kind: "system", may: "jobs.read" },
  params: Nothing,
  query: closed({
    ...PageQuery.properties,
    kind: Type.Optional(JobKindField),
    state: Type.Optional(JobStateField),
    project: Type.Optional(ProjectNameField),
  }),
  body: undefined,
  status: 200,
  answer: page(Job),
  errors: ["DENIED", "PROJECT_UNKNOWN", "PAGE_INVALID"],
});

export const getJob = operation({
  id: "getJob",
  tag: "jobs",
  method: "GET",
  path: "/jobs/{job}",
  summary: "Read a job with what it said",
  permission: { kind: "system", may: "jobs.read" },
  params: OfJob,
  query: Nothing,
  body: undefined,
  status: 200,
  answer: JobWithLines,
  errors: ["DENIED", "JOB_UNKNOWN"],
});

export const cancelJob = operation({
  id: "cancelJob",
  tag: "jobs",
  method: "POST",
  path: "/jobs/{job}/cancel",
  summary:
    "Cancel a job: one that waits at once, one that runs within moments, wherever it runs. Upkeep that repeats only ends its present run",
  permission: { kind: "administrator" },
  params: OfJob,
  query: Nothing,
  body: undefined,
  status: 200,
  answer: Job,
  errors: ["DENIED", "JOB_UNKNOWN", "JOB_ENDED"],
});

export const retryJob = operation({
  id: "retryJob",
  tag: "jobs",
  method: "POST",
  path: "/jobs/{job}/retry",
  summary: "Have a job that failed or was cancelled tried again, from its first attempt",
  permission: { kind: "administrator" },
  params: OfJob,
  query: Nothing,
  body: undefined,
  status: 200,
  answer: Job,
  errors: ["DENIED", "JOB_UNKNOWN", "JOB_NOT_FAILED", "JOB_EXISTS"],
});

export const JobEvent = closed(
  {
    id: Type.String({ description: "The number of the newest line: where a client that lost its connection goes on." }),
    kind: Type.Enum(["line", "state"], { description: "line: it said something; state: something else of it has changed." }),
    at: TimeField,
    line: Type.Union([Type.String(), Type.Null()]),
    job: Type.Union([Job, Type.Null()]),
  },
  { description: "What happened to a job." },
);
/** What happened to a job. */
export type JobEventView = Static<typeof JobEvent>;

export const followJob = operation({
  id: "followJob",
  tag: "jobs",
  method: "GET",
  path: "/jobs/{job}/events",
  summary: "Follow a job as it goes: its state and progress now and whenever they change, what it says, and the end when it has ended",
  permission: { kind: "system", may: "jobs.read" },
  params: OfJob,
  query: Nothing,
  body: undefined,
  status: 200,
  answer: JobEvent,
  stream: "events",
  errors: ["DENIED", "JOB_UNKNOWN"],
});
