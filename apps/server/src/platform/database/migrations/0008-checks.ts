// Checks: the database itself checks accounts, projects, members, robots and repositories, whoever writes. Both engines use triggers,
// because these check new values and leave existing rows alone (docs/decisions/0021-the-database-checks-what-is-written.md). A restore is
// exempt, because it writes what existed. Not here: the checks of callers' input, which are stricter (@berth/api, @berth/oci).
import type { ColumnTypes, Migration } from "./migration.ts";

/** A condition on a written row, over its columns with the prefix `new.`. */
interface Rule {
  readonly table: string;
  /** Identifies the rule among the table's. They are separate so that a row with an odd name can still be disabled, or closed. */
  readonly name: string;
  readonly columns: readonly string[];
  holds(tools: Tools): string;
}

interface Tools {
  /** The text has only characters of the class (inside brackets), at least one and at most that many. */
  only(column: string, characters: string, most: number): string;
  /** The text begins and ends with a character of the class. */
  edges(column: string, characters: string): string;
}

// No character of more than one byte, and none after a NUL, where SQLite's length and patterns stop.
const plain = (column: string, most: number): string =>
  `octet_length(${column}) between 1 and ${most} and length(${column}) = octet_length(${column})`;

const SQLITE: Tools = {
  only: (column, characters, most) => `(${plain(column, most)} and ${column} not glob '*[^${characters}]*')`,
  edges: (column, characters) => `(${column} glob '[${characters}]*' and ${column} glob '*[${characters}]')`,
};
const POSTGRES: Tools = {
  only: (column, characters, most) => `(${plain(column, most)} and ${column} !~ '[^${characters}]')`,
  edges: (column, characters) => `(${column} ~ '^[${characters}]' and ${column} ~ '[${characters}]$')`,
};

/** Every set of actions, in the alphabetical order in which sets are written. */
const ACTION_SETS = ["delete", "delete,pull", "delete,pull,push", "delete,push", "pull", "pull,push", "push"];
const oneOf = (column: string, values: readonly string[]): string => `${column} in (${values.map((value) => `'${value}'`).join(", ")})`;
const yesOrNo = (column: string): string => `${column} in (0, 1)`;

const RULES: readonly Rule[] = [
  {
    table: "project",
    name: "name",
    columns: ["name"],
    // Deleted repositories are in the project "~" (content/repositories.ts).
    holds: ({ only, edges }) => `(new.name = '~' or (${only("new.name", "a-z0-9._-", 128)} and ${edges("new.name", "a-z0-9")}))`,
  },
  { table: "project", name: "visibility", columns: ["is_public"], holds: () => yesOrNo("new.is_public") },
  {
    table: "account",
    name: "name",
    columns: ["kind", "name", "project_id"],
    holds: ({ only, edges }) =>
      `((new.kind = 'user' and new.project_id is null and ${only("new.name", "a-z0-9._@-", 64)} and ${edges("new.name", "a-z0-9")}) or
        (new.kind = 'robot' and ${only("new.name", "a-z0-9._+-", 193)} and new.name like '%+_%' and new.name not like '%+%+%'))`,
  },
  {
    table: "account",
    name: "flags",
    columns: ["is_admin", "is_disabled"],
    holds: () => `${yesOrNo("new.is_admin")} and ${yesOrNo("new.is_disabled")}`,
  },
  { table: "member", name: "role", columns: ["role"], holds: () => oneOf("new.role", ["guest", "developer", "maintainer", "owner"]) },
  {
    table: "robot_scope",
    name: "right",
    columns: ["repository_pattern", "actions"],
    holds: ({ only }) => `${oneOf("new.actions", ACTION_SETS)} and ${only("new.repository_pattern", "a-z0-9._/*-", 255)}`,
  },
  {
    table: "repository",
    name: "name",
    columns: ["name"],
    // A deleted repository is named by its number.
    holds: ({ only, edges }) =>
      `((${only("new.name", "a-z0-9._/-", 255)} and ${edges("new.name", "a-z0-9")} and new.name not like '%//%')
        or new.name = '~' || cast(new.id as text))`,
  },
];

const ERROR = "row_is_not_valid";
/** The mark of a running restore (commands/backup/restore-store.ts). */
const RESTORING = "exists (select 1 from job_lease where name = 'restore')";

const triggerOf = ({ table, name }: Rule): string => `check_${table}_${name}`;

function sqliteUp(): string[] {
  return RULES.flatMap((rule) => {
    const { table, columns, holds } = rule;
    return [`insert on ${table}`, `update of ${columns.join(", ")} on ${table}`].map(
      (event) =>
        `create trigger ${triggerOf(rule)}_${event.slice(0, 6)} before ${event} when not coalesce(${holds(SQLITE)}, 0)
          begin select raise(abort, '${ERROR}: ${table}') where not ${RESTORING}; end`,
    );
  });
}

function postgresUp(): string[] {
  return [
    `create function berth_refuse_row() returns trigger language plpgsql as $$ begin
      if not ${RESTORING} then raise exception '${ERROR}: %', tg_table_name using errcode = 'check_violation'; end if;
      return new; end $$`,
    ...RULES.map(
      (rule) =>
        `create trigger ${triggerOf(rule)} before insert or update of ${rule.columns.join(", ")} on ${rule.table} for each row
          when (not coalesce(${rule.holds(POSTGRES)}, false)) execute function berth_refuse_row()`,
    ),
  ];
}

function down({ dialect }: ColumnTypes): string[] {
  if (dialect === "sqlite") return RULES.flatMap((rule) => ["insert", "update"].map((event) => `drop trigger ${triggerOf(rule)}_${event}`));
  return [...RULES.map((rule) => `drop trigger ${triggerOf(rule)} on ${rule.table}`), `drop function berth_refuse_row()`];
}

export const checks: Migration = {
  id: 8,
  name: "checks",
  oldestProgram: 3,
  loses: { what: "nothing: triggers", content: [] },
  up: ({ dialect }) => (dialect === "sqlite" ? sqliteUp() : postgresUp()),
  down,
};
