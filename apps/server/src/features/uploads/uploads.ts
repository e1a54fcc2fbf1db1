// Uploads in progress, as administrators see and end them. Not here: rows (upload-store.ts), uploading (distribution/upload-session.ts).
import { ApiError } from "@berth/api/errors";
import { DEFAULT_PAGE_SIZE } from "@berth/api/limits";
import type { UploadView } from "@berth/api/uploads";
import { RegistryError } from "@berth/oci/errors";
import { parseRepositoryName } from "@berth/oci/reference";
import type { Authorizer } from "../../access/authorize.ts";
import type { Caller } from "../../access/caller.ts";
import type { UploadSessions } from "../../distribution/upload-session.ts";
import type { Clock } from "../../platform/clock.ts";
import type { Database } from "../../platform/database/database.ts";
import { listed, type Listed, type PageRequest } from "../paging.ts";
import { findRepositoryOfUpload, listUploadRows, type UploadPlace, type UploadRow } from "./upload-store.ts";

/** What the rules need. */
export interface OpenUploadsParts {
  readonly database: Database;
  readonly clock: Clock;
  readonly authorizer: Authorizer;
  readonly sessions: Pick<UploadSessions, "cancel">;
}

/** The rules, for callers with the proof of their permission. Their errors are those of the operations of the same name. */
export interface OpenUploads {
  list(page: PageRequest): Promise<Listed<UploadView>>;
  /** Errors: CONFLICT while a request writes to it. */
  cancel(caller: Caller, id: string): Promise<void>;
}

/** Before every open upload: ended ones expire at 0. */
const FROM_START: UploadPlace = { expiresAt: 1, id: "" };

/** Creates the rules. */
export function createOpenUploads({ database, clock, authorizer, sessions }: OpenUploadsParts): OpenUploads {
  return {
    async list({ after, limit = DEFAULT_PAGE_SIZE }) {
      const now = clock.now();
      const found = await listUploadRows(database, after === undefined ? FROM_START : readPlace(after), limit + 1);
      return listed(
        found,
        limit,
        (rows) => rows.map((row) => toView(row, now)),
        ({ expires_at, id }) => `${expires_at}.${id}`,
      );
    },
    async cancel(caller, id) {
      const name = await findRepositoryOfUpload(database, id);
      if (name === undefined) throw new ApiError("UPLOAD_UNKNOWN");
      try {
        await sessions.cancel(await authorizer.authorize(caller, "push", parseRepositoryName(name)), id);
      } catch (error) {
        // It ended, or its repository was deleted, meanwhile.
        const isGone = error instanceof RegistryError && ["BLOB_UPLOAD_UNKNOWN", "NAME_UNKNOWN"].includes(error.code);
        throw isGone ? new ApiError("UPLOAD_UNKNOWN") : error;
      }
    },
  };
}

function readPlace(after: string): UploadPlace {
  const parts = /^([1-9]\d{0,15})\.([0-9a-f-]{36})$/.exec(after);
  if (parts === null) throw new RegistryError("PAGE_INVALID", { detail: { after: after.slice(0, 100) } });
  return { expiresAt: Number(parts[1]), id: parts[2]! };
}

function toView({ id, repository, account, offset_bytes, locked_until, started_at, expires_at }: UploadRow, now: number): UploadView {
  return {
    id,
    repository,
    startedBy: account,
    receivedBytes: offset_bytes,
    isActive: locked_until !== null && locked_until > now,
    startedAt: new Date(started_at).toISOString(),
    expiresAt: new Date(expires_at).toISOString(),
  };
}
