// Usage: counters that triggers maintain, whoever writes: replicas of an older version, bulk loads and repairs as well. Every change of
// content becomes a row of `usage_change`; on PostgreSQL a job folds these into `usage`, on SQLite a view takes their place and folds them
// at once. The triggers also refuse content for a deleted repository, whose name begins with "~", because a replica may still have its id
// in memory. Decision: docs/decisions/0012-usage-by-triggers.md. Not here: counting existing content (0005-usage-fill.ts).
import type { ColumnTypes, Migration } from "./migration.ts";

const NUMBERS = ["repositories", "manifests", "tags", "blobs", "bytes"];
const COLUMNS = ["project_id", "repository_id", ...NUMBERS, "updated_at"].join(", ");

/** How a row of a table is counted: `c` is the row, `b` the blob of a link. */
interface Counted {
  readonly table: string;
  readonly manifests: number;
  readonly tags: number;
  readonly blobs: number;
  readonly bytes: string;
  readonly updatedAt: string;
  readonly join: string;
}

const CONTENT: readonly Counted[] = [
  {
    table: "repository_blob",
    manifests: 0,
    tags: 0,
    blobs: 1,
    bytes: "b.size_bytes",
    updatedAt: "0",
    join: "join blob b on b.id = c.blob_id",
  },
  { table: "manifest", manifests: 1, tags: 0, blobs: 0, bytes: "c.size_bytes", updatedAt: "c.created_at", join: "" },
  { table: "tag", manifests: 0, tags: 1, blobs: 0, bytes: "0", updatedAt: "c.updated_at", join: "" },
];

const sumsOf = (sign: "" | "-"): string => NUMBERS.map((name) => `${sign}coalesce(sum(${name}), 0)`).join(", ");
const bothOf = (where: string): string =>
  `(select ${NUMBERS.join(", ")} from usage where ${where} union all select ${NUMBERS.join(", ")} from usage_change where ${where}) as u`;

function tables({ integer, clustered }: ColumnTypes): string {
  const numbers = NUMBERS.map((name) => `${name} ${integer} not null`).join(", ");
  return `create table usage (project_id ${integer} not null, repository_id ${integer} not null, ${numbers}, updated_at ${integer} not null,
    primary key (project_id, repository_id)) ${clustered}`;
}

// ---- SQLite: a trigger for each row ----

function sqliteUp(types: ColumnTypes): string[] {
  const upsert = `on conflict (project_id, repository_id) do update set
    ${NUMBERS.map((name) => `${name} = ${name} + excluded.${name}`).join(", ")}, updated_at = max(updated_at, excluded.updated_at)`;
  const news = [...NUMBERS, "updated_at"].map((name) => `new.${name}`).join(", ");
  const trigger = (name: string, when: string, body: string): string => `create trigger usage_${name} ${when} begin ${body}; end`;
  const change = (select: string): string => `insert into usage_change (${COLUMNS}) ${select}`;
  return [
    tables(types),
    `create view usage_change as select ${COLUMNS} from usage where 0`,
    trigger(
      "change",
      "instead of insert on usage_change",
      [
        `insert into usage (${COLUMNS}) select new.project_id, new.repository_id, ${news}
          where new.repository_id > 0 or new.project_id = 0 ${upsert}`,
        `insert into usage (${COLUMNS}) select new.project_id, 0, ${news} where new.project_id > 0 ${upsert}`,
        `delete from usage where new.repositories < 0 and project_id = new.project_id and repository_id = new.repository_id
          and ${NUMBERS.map((name) => `${name} = 0`).join(" and ")}`,
      ].join("; "),
    ),
    ...CONTENT.flatMap(({ table, manifests, tags, blobs, bytes, updatedAt, join }) => {
      const row = (side: "new" | "old", text: string): string => text.replaceAll("c.", `${side}.`);
      const source = (side: "new" | "old"): string => `from repository r ${row(side, join)} where r.id = ${side}.repository_id`;
      return [
        trigger(
          `${table}_added`,
          `after insert on ${table}`,
          [
            `select raise(abort, 'repository_deleted') from repository where id = new.repository_id and name >= '~'
              and not exists (select 1 from job_lease where name = 'restore')`,
            change(
              `select r.project_id, r.id, 0, ${manifests}, ${tags}, ${blobs}, ${row("new", bytes)}, ${row("new", updatedAt)}
                ${source("new")} and r.name < '~'`,
            ),
          ].join("; "),
        ),
        trigger(
          `${table}_dropped`,
          `after delete on ${table}`,
          change(
            `select r.project_id, r.id, 0, -${manifests}, -${tags}, -${blobs}, -(${row("old", bytes)}), 0 ${source("old")} and r.name < '~'`,
          ),
        ),
        // Berth never does that; manual repairs may.
        trigger(
          `${table}_given`,
          `after update of repository_id on ${table} when old.repository_id <> new.repository_id`,
          [
            change(
              `select r.project_id, r.id, 0, -${manifests}, -${tags}, -${blobs}, -(${row("old", bytes)}), 0 ${source("old")} and r.name < '~'`,
            ),
            change(
              `select r.project_id, r.id, 0, ${manifests}, ${tags}, ${blobs}, ${row("new", bytes)}, 0 ${source("new")} and r.name < '~'`,
            ),
          ].join("; "),
        ),
      ];
    }),
    trigger(
      "tag_moved",
      "after update of manifest_id on tag",
      change(`select project_id, id, 0, 0, 0, 0, 0, new.updated_at from repository where id = new.repository_id and name < '~'`),
    ),
    trigger("blob_added", "after insert on blob", change(`values (0, 0, 0, 0, 0, 1, new.size_bytes, 0)`)),
    trigger("blob_dropped", "after delete on blob", change(`values (0, 0, 0, 0, 0, -1, -old.size_bytes, 0)`)),
    trigger(
      "repository_added",
      "after insert on repository when new.name < '~'",
      change(`values (new.project_id, new.id, 1, 0, 0, 0, 0, 0)`),
    ),
    trigger(
      "repository_dropped",
      "after delete on repository when old.name < '~'",
      change(`values (old.project_id, old.id, -1, 0, 0, 0, 0, 0)`),
    ),
    trigger(
      "repository_deleted",
      "after update of name on repository when old.name < '~' and new.name >= '~'",
      change(`select old.project_id, old.id, ${sumsOf("-")}, 0 from ${bothOf("project_id = old.project_id and repository_id = old.id")}`),
    ),
    trigger("project_dropped", "after delete on project", "delete from usage where project_id = old.id and repository_id = 0"),
  ];
}

// ---- PostgreSQL: a trigger for each added row, which pushes wait for; a trigger for each statement that deletes in batches ----

function postgresUp(types: ColumnTypes): string[] {
  const { integer } = types;
  const change = (select: string): string => `insert into usage_change (${COLUMNS}) ${select};`;
  const trigger = (table: string, name: string, when: string, rows: string, body: string): string[] => [
    `create function usage_${table}_${name}() returns trigger language plpgsql as $$ begin ${body} return null; end $$`,
    `create trigger usage_${table}_${name} after ${when} on ${table} ${rows} execute function usage_${table}_${name}()`,
  ];
  const each = "for each row";
  const dropped = "referencing old table as gone for each statement";
  return [
    tables(types),
    // Ordered for its readers: pending changes of one repository, of one project.
    `create table usage_change (project_id ${integer} not null, repository_id ${integer} not null,
      id ${integer} generated by default as identity, ${NUMBERS.map((name) => `${name} ${integer} not null`).join(", ")},
      updated_at ${integer} not null, primary key (project_id, repository_id, id))`,
    ...CONTENT.flatMap(({ table, manifests, tags, blobs, bytes, updatedAt, join }) => {
      const added = (text: string): string => text.replaceAll("c.", "new.");
      const counts = [manifests, tags, blobs].map((one) => `-${one} * count(*)`).join(", ");
      return [
        // By now the row's foreign key has locked the repository ("RI_…" sorts first): a concurrent deletion either came before and is
        // seen, or waits.
        ...trigger(
          table,
          "added",
          "insert",
          each,
          `${change(
            `select r.project_id, r.id, 0, ${manifests}, ${tags}, ${blobs}, ${added(bytes)}, ${added(updatedAt)}
              from repository r ${added(join)} where r.id = new.repository_id and r.name < '~'`,
          )}
          if not found and exists (select from repository where id = new.repository_id and name >= '~')
            and not exists (select from job_lease where name = 'restore') then
            raise exception 'repository_deleted';
          end if;`,
        ),
        // No foreign key locks here: without this lock, a deletion of the repository and this one would both count the row.
        ...trigger(
          table,
          "dropped",
          "delete",
          dropped,
          `perform from repository where id in (select repository_id from gone) order by id for key share;
          ${change(
            `select r.project_id, r.id, 0, ${counts}, -sum(${bytes}), 0 from gone c join repository r on r.id = c.repository_id ${join}
              where r.name < '~' group by r.project_id, r.id`,
          )}`,
        ),
        ...trigger(
          table,
          "given",
          "update of repository_id",
          `${each} when (old.repository_id <> new.repository_id)`,
          [
            "perform from repository where id in (old.repository_id, new.repository_id) order by id for key share;",
            change(
              `select r.project_id, r.id, 0, -${manifests}, -${tags}, -${blobs}, -(${added(bytes)}), 0
                from repository r ${added(join)} where r.id = old.repository_id and r.name < '~'`,
            ),
            change(
              `select r.project_id, r.id, 0, ${manifests}, ${tags}, ${blobs}, ${added(bytes)}, 0
                from repository r ${added(join)} where r.id = new.repository_id and r.name < '~'`,
            ),
          ].join(" "),
        ),
      ];
    }),
    ...trigger(
      "tag",
      "moved",
      "update of manifest_id",
      each,
      change(`select project_id, id, 0, 0, 0, 0, 0, new.updated_at from repository where id = new.repository_id and name < '~'`),
    ),
    ...trigger("blob", "added", "insert", each, change(`values (0, 0, 0, 0, 0, 1, new.size_bytes, 0)`)),
    ...trigger(
      "blob",
      "dropped",
      "delete",
      dropped,
      change(`select 0, 0, 0, 0, 0, -count(*), -sum(size_bytes), 0 from gone having count(*) > 0`),
    ),
    ...trigger(
      "repository",
      "added",
      "insert",
      `${each} when (new.name < '~')`,
      change(`values (new.project_id, new.id, 1, 0, 0, 0, 0, 0)`),
    ),
    ...trigger("repository", "dropped", "delete", dropped, change(`select project_id, id, -1, 0, 0, 0, 0, 0 from gone where name < '~'`)),
    ...trigger(
      "repository",
      "deleted",
      "update of name",
      `${each} when (old.name < '~' and new.name >= '~')`,
      change(`select old.project_id, old.id, ${sumsOf("-")}, 0 from ${bothOf("project_id = old.project_id and repository_id = old.id")}`),
    ),
  ];
}

const TRIGGERS: readonly (readonly [table: string, name: string])[] = [
  ...CONTENT.flatMap(({ table }) => (["added", "dropped", "given"] as const).map((name) => [table, name] as const)),
  ["tag", "moved"],
  ["blob", "added"],
  ["blob", "dropped"],
  ["repository", "added"],
  ["repository", "dropped"],
  ["repository", "deleted"],
];

export const usage: Migration = {
  id: 4,
  name: "usage",
  // Older programs write as before, since triggers count for them.
  oldestProgram: 3,
  loses: { what: "the counters of usage, which the next upgrade counts anew", content: [] },
  // For deleting a repository's uploads; SQLite also reads it for each new repository, since the trigger exists.
  indexes: [{ name: "upload_by_repository", on: "upload (repository_id)" }],
  up: (types) => (types.dialect === "sqlite" ? sqliteUp(types) : postgresUp(types)),
  down: ({ dialect }) => [
    ...TRIGGERS.flatMap(([table, name]) =>
      dialect === "sqlite"
        ? [`drop trigger usage_${table}_${name}`]
        : [`drop trigger usage_${table}_${name} on ${table}`, `drop function usage_${table}_${name}()`],
    ),
    ...(dialect === "sqlite" ? ["drop trigger usage_project_dropped", "drop view usage_change"] : ["drop table usage_change"]),
    "drop table usage",
    "drop index upload_by_repository",
  ],
};
