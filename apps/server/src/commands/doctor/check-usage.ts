// Compares the usage counters with a recount: of each repository, of each project, of the registry. A comparison is one statement, so both
// sides are of one moment, and the difference can be added whoever writes meanwhile. Not here: maintaining usage (content/usage.ts).
import { sql, type RawBuilder } from "kysely";
import { usageKeyOfProject, usageKeyOfRepository, usageOf, type UsageColumn } from "../../content/usage.ts";
import { statement, type Effort } from "../../platform/database/statement.ts";
import type { DoctorParts } from "./doctor.ts";

const NUMBERS = ["repositories", "manifests", "tags", "blobs", "bytes"] as const satisfies readonly UsageColumn[];
/** The rows of a statement. A repository of a million tags takes half a second of it. */
const PAGE = 20;
/** The counters and the recount of one key. */
interface Compared extends Record<`kept_${UsageColumn}` | `counted_${UsageColumn}`, number> {
  readonly name: string;
  readonly project_id: number;
  readonly repository_id: number;
  /** The next page begins here. */
  readonly id: number;
}

type Counts = Readonly<Record<UsageColumn, RawBuilder<unknown>>>;
type KeyOf = (table: "usage" | "usage_change") => RawBuilder<unknown>;

const number = (text: string): RawBuilder<number> => sql`cast(${sql.raw(text)} as bigint)`;
const from = (what: string, rest: string): RawBuilder<number> =>
  sql`(select cast(coalesce(${sql.raw(what)}, 0) as bigint) from ${sql.raw(rest)})`;

const columns = (keyOf: KeyOf, counts: Counts): RawBuilder<unknown> =>
  sql.join(
    NUMBERS.flatMap((name) => [
      sql`${usageOf(name, keyOf)} as ${sql.ref(`kept_${name}`)}`,
      sql`${counts[name]} as ${sql.ref(`counted_${name}`)}`,
    ]),
  );

const MANIFESTS = "manifest where manifest.repository_id = repository.id";
const LINKS = "repository_blob as link join blob on blob.id = link.blob_id where link.repository_id = repository.id";

const ofRepository: Counts = {
  repositories: number("1"),
  manifests: from("count(*)", MANIFESTS),
  tags: from("count(*)", "tag where tag.repository_id = repository.id"),
  blobs: from("count(*)", LINKS),
  bytes: sql`${from("sum(manifest.size_bytes)", MANIFESTS)} + ${from("sum(blob.size_bytes)", LINKS)}`,
};

const sumOfRepositories = (name: UsageColumn): RawBuilder<number> =>
  usageOf(name, (table) => sql`${sql.raw(table)}.project_id = project.id and ${sql.raw(table)}.repository_id > 0`);
const ofProject: Counts = {
  repositories: sumOfRepositories("repositories"),
  manifests: sumOfRepositories("manifests"),
  tags: sumOfRepositories("tags"),
  blobs: sumOfRepositories("blobs"),
  bytes: sumOfRepositories("bytes"),
};

const nothing: Counts = { repositories: number("0"), manifests: number("0"), tags: number("0"), blobs: number("0"), bytes: number("0") };
const keyOfRegistry: KeyOf = () => sql`project_id = 0 and repository_id = 0`;
const ofRegistry: Counts = {
  ...nothing,
  blobs: from("count(*)", "blob"),
  bytes: from("sum(size_bytes)", "blob"),
};

/** A comparison, as a query; `where` chooses rows by `id`. */
type Comparison = (where: RawBuilder<unknown>) => RawBuilder<Compared>;

const repositories: Comparison = (where) =>
  sql`select name, project_id, id as repository_id, id, ${columns(usageKeyOfRepository, ofRepository)} from repository
    where name < '~' and ${where}`;
const projects: Comparison = (where) =>
  sql`select name, id as project_id, cast(0 as bigint) as repository_id, id, ${columns(usageKeyOfProject, ofProject)} from project
    where ${where}`;
const registry: Comparison = (where) =>
  sql`select * from (select 'registry' as name, cast(0 as bigint) as project_id, cast(0 as bigint) as repository_id, cast(0 as bigint) as id,
    ${columns(keyOfRegistry, ofRegistry)}) as x where ${where}`;
// Deleted repositories do not count from the moment of their deletion. One that is only pending will be folded soon.
const strays: Comparison = (where) =>
  sql`select * from (select cast(repository_id as text) as name, project_id, repository_id, repository_id as id,
    ${columns((table) => sql`${sql.raw(table)}.project_id = kept.project_id and ${sql.raw(table)}.repository_id = kept.repository_id`, nothing)}
    from usage as kept where repository_id > 0 and not exists (select 1 from repository
      where repository.id = kept.repository_id and repository.project_id = kept.project_id and repository.name < '~')) as x where ${where}`;

const numbers = sql.raw(NUMBERS.join(", "));
const differs = sql.raw(NUMBERS.map((name) => `counted_${name} <> kept_${name}`).join(" or "));
const missing = sql.raw(NUMBERS.map((name) => `counted_${name} - kept_${name}`).join(", "));

const WHOLE = { analytical: "a recount of all there is" };

function check(id: string, word: string, comparison: Comparison, effort?: Effort) {
  return {
    word,
    list: statement<{ after: number }>()<Compared>(
      `doctor.usage.${id}`,
      (db, p) => ({
        compile: () => sql<Compared>`${comparison(sql`id > ${p.after}`)} order by id limit ${sql.lit(PAGE)}`.compile(db),
      }),
      effort,
    ),
    correct: statement<{ id: number }>()<never>(
      `doctor.usage.${id}.correct`,
      (db, p) => ({
        compile: () =>
          sql<never>`insert into usage_change (project_id, repository_id, ${numbers}, updated_at)
          select project_id, repository_id, ${missing}, 0 from (${comparison(sql`id = ${p.id}`)}) as compared where ${differs}`.compile(db),
      }),
      effort,
    ),
  };
}

// The order matters: repairing a repository changes its project.
const CHECKS = [
  check("repositories", "repository", repositories),
  check("strays", "repository that is gone, number", strays, WHOLE),
  check("projects", "project", projects),
  check("registry", "the whole", registry, WHOLE),
];

// Two concurrent repairs would add the difference twice. Writers of content do not wait for this lock.
const lockChanges = statement<Record<never, never>>()<never>(
  "doctor.usage.lock",
  (db) => ({
    compile: () => sql<never>`lock table usage_change in share update exclusive mode`.compile(db),
  }),
  { bounded: "locks a table, and looks at nothing of it" },
);

/** Compares all usage counters with a recount; returns the number of compared keys. */
export async function checkUsage(parts: DoctorParts): Promise<number> {
  const { executor, repairs } = parts;
  let done = 0;
  for (const { word, list, correct } of CHECKS) {
    let after = -1;
    for (;;) {
      const page = await executor.all(list, { after });
      for (const row of page) {
        const wrong = NUMBERS.filter((name) => row[`kept_${name}`] !== row[`counted_${name}`]);
        if (wrong.length === 0) continue;
        const added = await repairs?.transaction(async (tx) => {
          if (tx.dialect === "postgres") await tx.run(lockChanges, {}, { any: "it changes no row" });
          return tx.change(correct, { id: row.id });
        });
        parts.onProblem({
          kind: "usage-wrong",
          subject: `${word} ${row.name}`,
          detail: wrong.map((name) => `${name}: kept ${row[`kept_${name}`]}, counted ${row[`counted_${name}`]}`).join("; "),
          repositories: [],
          isRepaired: added !== undefined && added > 0,
        });
      }
      done += page.length;
      parts.onProgress({ phase: "usage", done, bytes: 0, after: undefined });
      const last = page.at(-1);
      if (last === undefined || page.length < PAGE) break;
      after = last.id;
    }
  }
  return done;
}
