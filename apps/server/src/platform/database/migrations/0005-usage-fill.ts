// Counts the usage of content that existed before the triggers (0004-usage.ts). One statement sees one state: its count, minus what the
// triggers have already counted of that state, is what is missing, however much is written meanwhile. It takes no lock that others wait
// for.
import type { Migration } from "./migration.ts";

const NUMBERS = ["repositories", "manifests", "tags", "blobs", "bytes", "updated_at"];
const COLUMNS = ["project_id", "repository_id", ...NUMBERS].join(", ");

const known = (table: string): string =>
  `select project_id, repository_id, -repositories, -manifests, -tags, -blobs, -bytes, 0 from ${table}
    where repository_id > 0 or project_id = 0`;

const FILL = `insert into usage_change (${COLUMNS})
  select project_id, repository_id, ${NUMBERS.map((name) => (name === "updated_at" ? `max(${name})` : `sum(${name})`)).join(", ")} from (
    select project_id, id as repository_id, 1 as repositories, 0 as manifests, 0 as tags, 0 as blobs, 0 as bytes, 0 as updated_at
      from repository where name < '~'
    union all
    select r.project_id, r.id, 0, count(*), 0, 0, sum(m.size_bytes), max(m.created_at)
      from manifest m join repository r on r.id = m.repository_id where r.name < '~' group by r.project_id, r.id
    union all
    select r.project_id, r.id, 0, 0, count(*), 0, 0, max(t.updated_at)
      from tag t join repository r on r.id = t.repository_id where r.name < '~' group by r.project_id, r.id
    union all
    select r.project_id, r.id, 0, 0, 0, count(*), sum(b.size_bytes), 0
      from repository_blob l join repository r on r.id = l.repository_id join blob b on b.id = l.blob_id
      where r.name < '~' group by r.project_id, r.id
    union all
    select 0, 0, 0, 0, 0, count(*), coalesce(sum(size_bytes), 0), 0 from blob
    union all ${known("usage")}
    union all ${known("usage_change")}
  ) as counted group by project_id, repository_id
  having ${NUMBERS.map((name) => `${name === "updated_at" ? "max" : "sum"}(${name}) <> 0`).join(" or ")}`;

export const usageFill: Migration = {
  id: 5,
  name: "usage-fill",
  oldestProgram: 3,
  loses: { what: "nothing", content: [] },
  up: ({ dialect }) => [
    // It reads whole tables, which a server's statements must not do (postgres.ts); here it is right.
    ...(dialect === "postgres" ? ["set local enable_seqscan = on", "set local enable_hashjoin = on"] : []),
    FILL,
  ],
  down: () => [],
};
