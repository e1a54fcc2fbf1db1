// The content services that a server and the background work share: repositories, blobs, and uploads in progress.
// Not here: manifests, tags and others that only a server needs (data-plane.ts); the background work itself (jobs.ts).
import { createBlobs, type Blobs } from "../content/blobs.ts";
import { createRepositories, type Repositories } from "../content/repositories.ts";
import { type ContentRules, NO_RULES } from "../content/rules.ts";
import { createUploadLimits } from "../content/upload-limits.ts";
import { createUploads, type Uploads } from "../content/uploads.ts";
import { createUploadSessions, type UploadSessions } from "../distribution/upload-session.ts";
import type { ChangeSink } from "../access/changes.ts";
import { createOutbox, type Outbox } from "../events/outbox.ts";
import { createAuditSink } from "../features/audit/audit-sink.ts";
import { createWanted, type Wanted } from "../features/webhooks/webhooks.ts";
import { SECOND_MS } from "../platform/clock.ts";
import { reactions, type RegistryChange } from "../reactions.ts";
import { leaseTimes, type Foundation, type RoleContext } from "./foundation.ts";

/** Stored content and uploads. */
export interface Content {
  readonly repositories: Repositories;
  readonly blobs: Blobs;
  /** The rows of open sessions. */
  readonly uploads: Uploads;
  /** The sessions themselves, which write bytes into the store. */
  readonly sessions: UploadSessions;
  /** Where all changes are recorded: they go on record, and to the outbox. */
  readonly changes: ChangeSink<RegistryChange>;
  /** Where those wait from which something follows. Nobody records there: it would not be on record. */
  readonly outbox: Pick<Outbox<RegistryChange>, "dispatch" | "react">;
  /** What webhooks want; a process that has not started it takes everything for wanted. */
  readonly wanted: Wanted;
}

/** Composes the content services. `onRecorded`: changes wait to be put on record. */
export function composeContent(
  { config, logger }: RoleContext,
  { database, store, clock, steadyClock }: Foundation,
  { rules = NO_RULES, onRecorded }: { readonly rules?: ContentRules | undefined; readonly onRecorded?: (() => void) | undefined } = {},
): Content {
  const wanted = createWanted(database);
  const outbox = createOutbox(database, clock, reactions, {
    subscriptions: wanted,
    onSetAside: (error, change) =>
      logger.error({ err: error, change }, "nothing could be made to follow from a change with the others: a job of its own tries again"),
  });
  const changes = createAuditSink(clock, outbox, onRecorded);
  const repositories = createRepositories(database, clock, changes);
  const blobs = createBlobs(database, clock, leaseTimes(config), rules);
  const uploads = createUploads(database, clock, config.limits.uploadAgeSeconds * SECOND_MS, steadyClock);
  const sessions = createUploadSessions({
    database,
    uploadLimits: createUploadLimits(database, clock, {
      account: config.limits.openUploadsPerAccount,
      project: config.limits.openUploadsPerProject,
      registry: config.limits.openUploads,
    }),
    repositories,
    uploads,
    blobs,
    store,
    clock,
    rules,
    inlineMaxBytes: config.storage.inlineMaxBytes,
    maxBlobBytes: config.limits.uploadBytes,
    onBackgroundError: (error) => logger.warn({ err: error }, "clearing up behind an upload failed; the sweep will do it"),
  });
  return { repositories, blobs, uploads, sessions, changes, outbox, wanted };
}
