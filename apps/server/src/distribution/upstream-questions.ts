// Asks upstreams: a bounded number of questions at a time and for a bounded time, one for all who want the same answer, and none for a while to
// one that cannot be reached or wants fewer. Not here: the port (upstream.ts), the bytes of blobs (incoming-blobs.ts).
import { RegistryError } from "@berth/oci/errors";
import { plainLine } from "@berth/oci/warnings";
import { LRUCache } from "lru-cache";
import type { Grant } from "../access/caller.ts";
import { MINUTE_MS, SECOND_MS } from "../platform/clock.ts";
import { createSemaphore, type Semaphore } from "../platform/semaphore.ts";
import { withinTime } from "../platform/within-time.ts";
import { type Upstream, UpstreamError, type UpstreamQuestion } from "./upstream.ts";

/** A question's subject, as far as answers are shared by it. */
export interface Subject {
  readonly upstream: Upstream;
  readonly repository: UpstreamQuestion["repository"];
  readonly projectId: number;
  readonly traits: UpstreamQuestion["traits"];
  /** The project with its revision: what was heard under one is not kept under the next. */
  readonly project: string;
}

/** Asks. */
export interface UpstreamQuestions {
  /** Undefined: the project has no upstream. */
  subjectOf(grant: Grant<"pull">): Subject | undefined;
  /**
   * One question. `what`: who asks for the same meanwhile gets the same answer. Errors: UPSTREAM_FAILED, DENIED (it refuses the registry),
   * TOOMANYREQUESTS; all of them are in the log.
   */
  ask<T>(subject: Subject, what: string, work: (question: UpstreamQuestion) => Promise<T>): Promise<T>;
  /** What who asks is told of a failure; it is put into the log, and the upstream is left alone for a while where that helps. */
  refusalOf(subject: Subject, what: string, error: unknown): RegistryError;
  /** Errors: the refusal, while the upstream is left alone. */
  checkHold(subject: Subject): void;
}

/** What asking needs. */
export interface UpstreamQuestionParts {
  readonly upstreams: readonly Upstream[];
  /** Told of each failure. */
  readonly onFailure: (failure: UpstreamFailureReport) => void;
  /** `QUESTION_MS` where it is not given. */
  readonly questionMs?: number;
  /** `HOLD_MS` where it is not given. */
  readonly holdMs?: number;
}

/** A failure, as the log has it. */
export interface UpstreamFailureReport {
  readonly repository: string;
  readonly what: string;
  readonly error: unknown;
}

/** How long a client waits for an answer: less than clients wait for theirs. */
const QUESTION_MS = 15 * SECOND_MS;
/** How long one that cannot be reached is left alone, so that not every pull waits for it; also where it says no time itself. */
const HOLD_MS = 5 * SECOND_MS;
/** The longest that one may want to be left alone. */
const MAX_HOLD_MS = 5 * MINUTE_MS;
/** Questions at a time, and those of one project: a slow upstream must not keep others waiting. */
const MAX_QUESTIONS = 64;
const MAX_QUESTIONS_OF_PROJECT = 16;
/** Projects and repositories that are left alone. */
const MAX_HELD = 10_000;
const MAX_REASON_CHARACTERS = 300;

/** Makes the questions. */
export function createUpstreamQuestions(parts: UpstreamQuestionParts): UpstreamQuestions {
  const { upstreams, onFailure, questionMs = QUESTION_MS, holdMs = HOLD_MS } = parts;
  const places = createProjectPlaces({ permits: MAX_QUESTIONS, ofProject: MAX_QUESTIONS_OF_PROJECT, waitMs: questionMs });
  const asked = new Map<string, Promise<unknown>>();
  const holds = new LRUCache<string, { readonly error: UpstreamError; readonly until: number }>({ max: MAX_HELD });

  /** Of the project; and of the repository alone where it is refused: the upstream may give others. */
  function checkHold({ project, repository }: Subject): void {
    for (const key of [project, `${project} ${repository}`]) {
      const held = holds.get(key);
      const leftMs = held === undefined ? 0 : held.until - performance.now();
      if (held !== undefined && leftMs > 0) throw clientError(held.error, leftMs);
    }
  }

  function hold({ project, repository }: Subject, error: UpstreamError): number {
    const ms = Math.min(error.retryAfterMs ?? holdMs, MAX_HOLD_MS);
    if (error.failure === "wrong") return ms;
    holds.set(error.failure === "refused" ? `${project} ${repository}` : project, { error, until: performance.now() + ms });
    return ms;
  }

  function refusalOf(subject: Subject, what: string, error: unknown): RegistryError {
    // A place that was not to be had.
    if (error instanceof RegistryError) return error;
    onFailure({ repository: subject.repository, what, error });
    const known = error instanceof UpstreamError ? error : new UpstreamError("wrong", "it was not understood", { cause: error });
    return clientError(known, hold(subject, known));
  }

  async function askNow<T>(subject: Subject, what: string, work: (question: UpstreamQuestion) => Promise<T>): Promise<T> {
    const { repository, projectId, traits } = subject;
    const abort = new AbortController();
    try {
      return await places.run(projectId, async () => {
        // Those who waited for a place know no more than who asked before them.
        checkHold(subject);
        const late = () => new UpstreamError("unreachable", `it gave no answer within ${Math.ceil(questionMs / SECOND_MS)} s`);
        return await withinTime(work({ repository, projectId, traits, signal: abort.signal }), questionMs, late);
      });
    } catch (error) {
      throw refusalOf(subject, what, error);
    } finally {
      abort.abort();
    }
  }

  return {
    checkHold,
    refusalOf,

    subjectOf({ repository, projectId, traits }) {
      if (traits === undefined) return undefined;
      const upstream = upstreams.find(({ trait }) => traits.has(trait));
      return upstream && { upstream, repository, projectId, traits, project: `${projectId} ${traits.revision}` };
    },

    async ask<T>(subject: Subject, what: string, work: (question: UpstreamQuestion) => Promise<T>) {
      checkHold(subject);
      const key = `${subject.project} ${subject.repository} ${what}`;
      const running = asked.get(key) as Promise<T> | undefined;
      if (running !== undefined) return running;
      const asking = askNow(subject, what, work).finally(() => asked.delete(key));
      asked.set(key, asking);
      return asking;
    },
  };
}

/** Runs work of projects, each with a share of the places. */
export interface ProjectPlaces {
  /** Errors: TOOMANYREQUESTS where no place becomes free in time; the work's. */
  run<T>(projectId: number, work: () => Promise<T>): Promise<T>;
}

/** Makes places. `permits`: of all, `ofProject`: those that one project may have. */
export function createProjectPlaces({
  permits,
  ofProject,
  waitMs,
}: {
  readonly permits: number;
  readonly ofProject: number;
  readonly waitMs: number;
}): ProjectPlaces {
  const refusal = (): RegistryError =>
    new RegistryError("TOOMANYREQUESTS", {
      message: "too much is being asked of upstream registries: try again",
      headers: { "retry-after": "5" },
    });
  const all = createSemaphore({ permits, waitMs, refusal });
  const ofProjects = new Map<number, Semaphore>();
  return {
    async run(projectId, work) {
      let own = ofProjects.get(projectId);
      if (own === undefined) ofProjects.set(projectId, (own = createSemaphore({ permits: ofProject, waitMs, refusal })));
      try {
        return await own.run(() => all.run(work));
      } finally {
        if (own.taken === 0) ofProjects.delete(projectId);
      }
    },
  };
}

/** What a client gets. `isReported`: the log has it from whoever asked. */
function clientError({ failure, message, cause }: UpstreamError, holdMs: number): RegistryError {
  const plain = plainLine(message, MAX_REASON_CHARACTERS);
  const seconds = String(Math.max(1, Math.ceil(holdMs / SECOND_MS)));
  switch (failure) {
    case "busy":
      return new RegistryError("TOOMANYREQUESTS", {
        message: `the upstream registry wants fewer requests: ${plain}`,
        headers: { "retry-after": seconds },
        isReported: true,
        cause,
      });
    case "refused":
      return new RegistryError("DENIED", {
        message: `the upstream registry refuses this registry, or has no such repository: ${plain}`,
        isReported: true,
        cause,
      });
    case "unreachable":
    case "wrong":
      return new RegistryError("UPSTREAM_FAILED", {
        message: `the upstream registry gave no usable answer: ${plain}`,
        headers: { "retry-after": seconds },
        isReported: true,
        cause,
      });
  }
}
