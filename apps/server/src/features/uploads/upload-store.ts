// Open uploads with their owners. Not here: writing to them (content/uploads.ts), permissions (uploads.ts).
import { TOMBSTONE } from "../../content/repositories.ts";
import type { Executor } from "../../platform/database/database.ts";
import { statement } from "../../platform/database/statement.ts";

/** An upload in a list. */
export interface UploadRow {
  readonly id: string;
  readonly repository: string;
  readonly account: string | null;
  readonly offset_bytes: number;
  readonly locked_until: number | null;
  readonly started_at: number;
  readonly expires_at: number;
}

/** Where a page goes on. */
export interface UploadPlace {
  readonly expiresAt: number;
  readonly id: string;
}

const listOpen = statement<{ expiresAt: number; id: string; limit: number }>()("upload.list", (db, p) =>
  db
    .selectFrom("upload")
    .innerJoin("repository", "repository.id", "upload.repository_id")
    .leftJoin("account", "account.id", "upload.account_id")
    .select([
      "upload.id",
      "repository.name as repository",
      "account.name as account",
      "upload.offset_bytes",
      "upload.locked_until",
      "upload.started_at",
      "upload.expires_at",
    ])
    .where((eb) => eb("repository.name", "<", TOMBSTONE))
    .where((eb) => eb(eb.refTuple("upload.expires_at", "upload.id"), ">", eb.tuple(p.expiresAt, p.id)))
    .orderBy("upload.expires_at")
    .orderBy("upload.id")
    .limit(p.limit),
);

/**
 * Uploads after a place, the first to expire first. Ended ones, whose bytes are being removed, expire at 0 and come before every place;
 * those of deleted repositories have ended, and are removed with them.
 */
export function listUploadRows(executor: Executor, { expiresAt, id }: UploadPlace, limit: number): Promise<UploadRow[]> {
  return executor.all(listOpen, { expiresAt, id, limit });
}

const findOpen = statement<{ id: string }>()("upload.repository", (db, p) =>
  db
    .selectFrom("upload")
    .innerJoin("repository", "repository.id", "upload.repository_id")
    .select("repository.name")
    .where("upload.id", "=", p.id)
    .where((eb) => eb("repository.name", "<", TOMBSTONE))
    .where("upload.expires_at", ">", 0),
);

/** The repository that an upload is for. */
export async function findRepositoryOfUpload(executor: Executor, id: string): Promise<string | undefined> {
  return (await executor.first(findOpen, { id }))?.name;
}
