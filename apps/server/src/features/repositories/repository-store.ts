// Repositories with their usage, as their readers see them. Not here: permissions (repositories.ts), their ids (content/repositories.ts).
import { usageKeyOfRepository, usageOf, type Usage } from "../../content/usage.ts";
import type { Executor } from "../../platform/database/database.ts";
import { statement } from "../../platform/database/statement.ts";

/** A repository; all of it of one moment. */
export interface RepositoryRow extends Usage {
  readonly name: string;
  readonly createdAt: Date;
  /** When a manifest or tag was last pushed, or undefined. */
  readonly pushedAt: Date | undefined;
  readonly pulls: number;
  readonly pulledAt: Date | undefined;
}

const listByNames = statement<{ names: string[] }>()("repository.by_names", (db, p, tools) =>
  db
    .selectFrom("repository")
    .leftJoin("repository_pull", "repository_pull.repository_id", "repository.id")
    .select([
      "repository.name",
      "repository.created_at",
      "repository_pull.pulls",
      "repository_pull.pulled_at",
      usageOf("manifests", usageKeyOfRepository).as("manifests"),
      usageOf("tags", usageKeyOfRepository).as("tags"),
      usageOf("blobs", usageKeyOfRepository).as("blobs"),
      usageOf("bytes", usageKeyOfRepository).as("bytes"),
      usageOf("updated_at", usageKeyOfRepository).as("pushed_at"),
    ])
    .where(({ ref }) => tools.inList(ref("repository.name"), p.names, "text")),
);

/** Those of the repositories that are there, in the order of the names. */
export async function listRepositoryRows(executor: Executor, names: readonly string[]): Promise<RepositoryRow[]> {
  if (names.length === 0) return [];
  const rows = new Map((await executor.all(listByNames, { names: [...names] })).map((row) => [row.name, row]));
  return names.flatMap((name) => {
    const row = rows.get(name);
    if (row === undefined) return [];
    const { manifests, tags, blobs, bytes } = row;
    const pushedAt = row.pushed_at === 0 ? undefined : new Date(row.pushed_at);
    const pulledAt = row.pulled_at === null ? undefined : new Date(row.pulled_at);
    return [{ name, manifests, tags, blobs, bytes, createdAt: new Date(row.created_at), pushedAt, pulls: row.pulls ?? 0, pulledAt }];
  });
}
