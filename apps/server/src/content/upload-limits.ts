// Limits on open upload sessions: for each account, for each project, in total. They are counted only now and then, because a count reads
// every open session: a limit may be exceeded by a tenth, on each replica. Not here: the sessions (uploads.ts).
import { RegistryError } from "@berth/oci/errors";
import { LRUCache } from "lru-cache";
import type { Grant } from "../access/caller.ts";
import type { Clock } from "../platform/clock.ts";
import type { Database } from "../platform/database/database.ts";
import { statement } from "../platform/database/statement.ts";
import { isLive } from "./repositories.ts";

/** The most open sessions of each kind. */
export interface OpenUploadLimits {
  readonly account: number;
  readonly project: number;
  readonly registry: number;
}

/** The check before a session begins. */
export interface UploadLimits {
  /** Errors: UPLOADS_EXCEEDED, with the caller's oldest sessions. */
  check(grant: Grant<"push">): Promise<void> | void;
}

type Subject = keyof OpenUploadLimits;

interface Known {
  readonly counted: number;
  readonly countedAt: number;
  /** The sessions begun on this replica since the count. */
  readonly begun: number;
}

/** Accounts and projects whose counts are cached. One that is evicted begins at zero, as after a restart. */
const MAX_KNOWN = 10_000;
/** The count is repeated after this percentage of the allowed sessions was begun. */
const COUNT_PERCENT = 10;
/** How long a count that exceeded the limit is cached: refused clients ask again at once, and each count reads every open session. */
const REFUSE_MS = 1_000;
/** How many of the caller's sessions a refusal names. */
const NAMED = 10;

const SUBJECTS = ["account", "project", "registry"] as const;
const SETTINGS: Readonly<Record<Subject, string>> = {
  account: "limits.openUploadsPerAccount",
  project: "limits.openUploadsPerProject",
  registry: "limits.openUploads",
};

const countOfAccount = statement<{ accountId: number; now: number; limit: number }>()(
  "uploadLimits.account",
  (db, p) => db.selectFrom("upload").select("id").where("account_id", "=", p.accountId).where("expires_at", ">", p.now).limit(p.limit),
  { bounded: "looks at open sessions, as many as limits.openUploads, after each tenth of a limit" },
);

const countOfProject = statement<{ projectId: number; now: number; limit: number }>()(
  "uploadLimits.project",
  (db, p) =>
    db
      .selectFrom("upload")
      .innerJoin("repository", "repository.id", "upload.repository_id")
      .select("upload.id")
      .where("repository.project_id", "=", p.projectId)
      .where("upload.expires_at", ">", p.now)
      .limit(p.limit),
  { bounded: "looks at open sessions, as many as limits.openUploads, after each tenth of a limit" },
);

const countOfAll = statement<{ now: number; limit: number }>()("uploadLimits.all", (db, p) =>
  db.selectFrom("upload").select("id").where("expires_at", ">", p.now).orderBy("expires_at").limit(p.limit),
);

const listOldest = statement<{ accountId: number; now: number; limit: number }>()(
  "uploadLimits.oldest",
  (db, p) =>
    db
      .selectFrom("upload")
      .innerJoin("repository", "repository.id", "upload.repository_id")
      .select(["upload.id", "repository.name", "upload.started_at"])
      .where("upload.account_id", "=", p.accountId)
      .where("upload.expires_at", ">", p.now)
      .where(isLive)
      .orderBy("upload.started_at")
      .limit(p.limit),
  { bounded: "looks at open sessions, as many as limits.openUploads, once for who is refused" },
);

/** Creates the upload limits. */
export function createUploadLimits(database: Database, clock: Clock, limits: OpenUploadLimits): UploadLimits {
  const known = new LRUCache<string, Known>({ max: MAX_KNOWN });

  async function count(subject: Subject, { actor: { accountId }, projectId }: Grant<"push">, now: number): Promise<number> {
    const limit = limits[subject];
    if (subject === "registry") return (await database.all(countOfAll, { now, limit })).length;
    if (subject === "project") return (await database.all(countOfProject, { projectId, now, limit })).length;
    return accountId === null ? 0 : (await database.all(countOfAccount, { accountId, now, limit })).length;
  }

  /** Undefined if nothing has to be counted or refused. */
  function checkOne(subject: Subject, grant: Grant<"push">): Promise<void> | undefined {
    const limit = limits[subject];
    const id = subject === "account" ? grant.actor.accountId : subject === "project" ? grant.projectId : "";
    const key = `${subject} ${id}`;
    const one = known.get(key) ?? { counted: 0, countedAt: -Infinity, begun: 0 };
    const isFull = one.counted >= limit;
    const isDue = isFull || one.counted + one.begun >= limit || one.begun + 1 >= Math.max(1, (limit * COUNT_PERCENT) / 100);
    if (!isDue) {
      known.set(key, { ...one, begun: one.begun + 1 });
      return undefined;
    }
    return (async () => {
      const isFresh = isFull && performance.now() - one.countedAt < REFUSE_MS;
      const counted = isFresh ? one.counted : await count(subject, grant, clock.now());
      if (!isFresh) known.set(key, { counted, countedAt: performance.now(), begun: counted >= limit ? 0 : 1 });
      if (counted >= limit) throw await exceeded(subject, grant);
    })();
  }

  async function exceeded(subject: Subject, { actor: { accountId } }: Grant<"push">): Promise<RegistryError> {
    const limit = limits[subject];
    const oldest = accountId === null ? [] : await database.all(listOldest, { accountId, now: clock.now(), limit: NAMED });
    const whose = { account: "this account has", project: "this project has", registry: "the registry has" }[subject];
    return new RegistryError("UPLOADS_EXCEEDED", {
      message: `${whose} ${limit} uploads open, which is all it may (${SETTINGS[subject]}): finish or cancel some`,
      headers: { "retry-after": "1" },
      detail: {
        limit,
        setting: SETTINGS[subject],
        yourOldest: oldest.map(({ id, name, started_at }) => ({
          upload: `/v2/${name}/blobs/uploads/${id}`,
          startedAt: new Date(started_at).toISOString(),
        })),
      },
    });
  }

  return {
    check(grant) {
      const counts = SUBJECTS.map((subject) => checkOne(subject, grant)).filter((one) => one !== undefined);
      return counts.length === 0 ? undefined : Promise.all(counts).then(() => undefined);
    },
  };
}
