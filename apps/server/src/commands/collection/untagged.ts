// Counts untagged content: manifests to which no tag leads, and what only they hold. It counts page by page and reads only. Not here: what
// the collector deletes (explain.ts), which keeps all of this.
import { sql } from "kysely";
import type { Executor } from "../../platform/database/database.ts";
import { statement } from "../../platform/database/statement.ts";
import { PAGE } from "./candidates-store.ts";

/** Content to which no tag leads. */
export interface Untagged {
  /**
   * Manifests that no tag names, that refer to no other manifest (as signatures do), and that are listed by no index to which a tag leads.
   * An index in an index in an index counts as tagged.
   */
  readonly manifests: number;
  /** Their bytes, and those of blobs that no other manifest of the repository holds. */
  readonly bytes: number;
  /** Whether all manifests were read. */
  readonly isComplete: boolean;
}

/** The condition that no tag leads to a manifest. `name` is its row in the statement. */
function isUntagged(name: "page" | "other") {
  const row = sql.id(name);
  return sql<boolean>`(
    ${row}.subject_digest is null
    and not exists (select 1 from tag where tag.manifest_id = ${row}.id)
    and not exists (
      select 1 from manifest_child as listed
      join manifest as parent on parent.id = listed.manifest_id
      where listed.repository_id = ${row}.repository_id and listed.child_digest = ${row}.digest
        and (parent.subject_digest is not null
          or exists (select 1 from tag where tag.manifest_id = parent.id)
          or exists (select 1 from manifest_child as above
            where above.repository_id = parent.repository_id and above.child_digest = parent.digest))))`;
}

/** Of the next manifests: the last one's id, their number, and the number and bytes of the untagged ones. */
const countPage = statement<{ after: number; limit: number }>()<{
  last: number | null;
  looked: number;
  manifests: number;
  bytes: number;
}>(
  "collection.untagged",
  (db, p) => ({
    compile: () =>
      // A blob counts with the first of the manifests that hold it, and not at all if a tagged manifest holds it.
      sql<{ last: number | null; looked: number; manifests: number; bytes: number }>`
      select max(page.id) as last, count(*) as looked,
        cast(coalesce(sum(case when ${isUntagged("page")} then 1 else 0 end), 0) as bigint) as manifests,
        cast(coalesce(sum(case when ${isUntagged("page")} then page.size_bytes + coalesce((
          select sum(blob.size_bytes) from manifest_blob as edge
          join blob on blob.id = edge.blob_id
          where edge.manifest_id = page.id and not exists (
            select 1 from manifest_blob as same
            join manifest as other on other.id = same.manifest_id
            where same.repository_id = edge.repository_id and same.blob_id = edge.blob_id and same.manifest_id <> page.id
              and (same.manifest_id < page.id or not ${isUntagged("other")}))), 0) else 0 end), 0) as bigint) as bytes
      from (select id, repository_id, digest, subject_digest, size_bytes from manifest where id > ${p.after} order by id limit ${p.limit}) as page
    `.compile(db),
  }),
  { bounded: "looks at one page of manifests, which its limit bounds" },
);

/** Counts, reading at most that many manifests. */
export async function countUntagged(executor: Executor, most: number): Promise<Untagged> {
  let [manifests, bytes, looked, after] = [0, 0, 0, 0];
  while (looked < most) {
    const limit = Math.min(PAGE, most - looked);
    const page = (await executor.first(countPage, { after, limit }))!;
    manifests += Number(page.manifests);
    bytes += Number(page.bytes);
    looked += Number(page.looked);
    if (page.last === null || Number(page.looked) < limit) return { manifests, bytes, isComplete: true };
    after = Number(page.last);
  }
  return { manifests, bytes, isComplete: false };
}
