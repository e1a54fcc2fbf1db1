// Tables as the engine describes them, their rows as JSON in both directions, and the counters of their ids: for copying a database from
// one engine to another without a list of columns to maintain.
// Not here: which tables are copied, and into which files.
import { createHash } from "node:crypto";
import { sql, type Kysely, type RawBuilder } from "kysely";
import type { Executor } from "./database.ts";
import type { Schema } from "./schema.ts";
import { statement, type ParameterValue, type Statement } from "./statement.ts";

/** The kinds of columns: whole numbers up to 2^53, text, or bytes. */
export type ColumnKind = "integer" | "text" | "bytes";

/** A column. */
export interface Column {
  readonly name: string;
  readonly kind: ColumnKind;
}

/** A table. */
export interface Table {
  readonly name: string;
  readonly columns: readonly Column[];
  /** The primary key's columns, in its order. */
  readonly key: readonly string[];
}

/** A row's values in the order of the table's columns; bytes as base64. */
export type Row = readonly (string | number | null)[];

interface ColumnRow {
  table_name: string;
  name: string;
  type: string;
  key_place: number;
}

interface ReferenceRow {
  table_name: string;
  target: string;
}

const KINDS: Readonly<Record<string, ColumnKind>> = {
  integer: "integer",
  int8: "integer",
  int4: "integer",
  int2: "integer",
  text: "text",
  blob: "bytes",
  bytea: "bytes",
};

type None = Record<never, never>;

const CATALOGUE = { bounded: "the engine's own catalogue, and a handful of tables in it" };

function raw<R>(id: string, build: Record<"sqlite" | "postgres", RawBuilder<R>>): Statement<None, R> {
  return statement<None>()<R>(id, (db, _parameters, tools) => ({ compile: () => build[tools.name].compile(db) }), CATALOGUE);
}

// Tables with these prefixes belong to the engine; the marker belongs to the SQLite connection.
const listColumns = raw<ColumnRow>("tables.columns", {
  sqlite: sql`select m.name as table_name, c.name, lower(c.type) as type, c.pk as key_place
    from sqlite_schema as m join pragma_table_info(m.name) as c
    where m.type = 'table' and m.name not like 'sqlite\\_%' escape '\\' and m.name <> 'berth_marker' order by m.name, c.cid`,
  postgres: sql`select c.relname::text as table_name, a.attname::text as name, t.typname::text as type,
      coalesce((select k.place from pg_index as i cross join lateral unnest(i.indkey::int2[]) with ordinality as k (number, place)
        where i.indrelid = c.oid and i.indisprimary and k.number = a.attnum), 0) as key_place
    from pg_class as c join pg_attribute as a on a.attrelid = c.oid join pg_type as t on t.oid = a.atttypid
    where c.relkind = 'r' and c.relnamespace = (select oid from pg_namespace where nspname = current_schema())
      and a.attnum > 0 and not a.attisdropped and a.attgenerated = '' order by c.relname, a.attnum`,
});

const listReferences = raw<ReferenceRow>("tables.references", {
  sqlite: sql`select distinct m.name as table_name, f."table" as target
    from sqlite_schema as m join pragma_foreign_key_list(m.name) as f where m.type = 'table'`,
  postgres: sql`select distinct c.relname::text as table_name, f.relname::text as target
    from pg_constraint as k join pg_class as c on c.oid = k.conrelid join pg_class as f on f.oid = k.confrelid
    where k.contype = 'f' and c.relnamespace = (select oid from pg_namespace where nspname = current_schema())`,
});

/** All tables, each after those that its rows refer to. Throws if a column is of a kind that cannot be copied. */
export async function listTables(executor: Executor): Promise<Table[]> {
  const columns = await executor.all(listColumns, {});
  const tables = [...Map.groupBy(columns, (column) => column.table_name)].map(([name, rows]): Table => ({
    name,
    columns: rows.map((row) => ({ name: row.name, kind: kindOf(row) })),
    key: rows
      .filter((row) => Number(row.key_place) > 0)
      .toSorted((one, other) => Number(one.key_place) - Number(other.key_place))
      .map((row) => row.name),
  }));
  return inOrderOfReferences(tables, await executor.all(listReferences, {}));
}

function kindOf({ table_name, name, type }: ColumnRow): ColumnKind {
  const kind = KINDS[type];
  if (kind === undefined) throw new Error(`column ${table_name}.${name} is of type ${type}, which has no portable form`);
  return kind;
}

function inOrderOfReferences(tables: readonly Table[], references: readonly ReferenceRow[]): Table[] {
  const ordered: Table[] = [];
  const open = new Map(tables.map((table) => [table.name, table]));
  while (open.size > 0) {
    const free = [...open.values()].filter(
      ({ name }) => !references.some((each) => each.table_name === name && each.target !== name && open.has(each.target)),
    );
    if (free.length === 0) throw new Error(`tables refer to each other in a ring: ${[...open.keys()].join(", ")}`);
    for (const table of free) open.delete(table.name);
    ordered.push(...free);
  }
  return ordered;
}

// Manifests may have megabytes each: pages of tables with bytes are short, so that a page fits in memory.
const PAGE_ROWS = 2000;
const PAGE_ROWS_WITH_BYTES = 32;

/** All rows of a table in the order of its key, a page at a time. */
export async function* listPages(executor: Executor, table: Table): AsyncGenerator<Row[], void, void> {
  if (table.key.length === 0) throw new Error(`table ${table.name} has no primary key`);
  const limit = table.columns.some(({ kind }) => kind === "bytes") ? PAGE_ROWS_WITH_BYTES : PAGE_ROWS;
  const first = pageStatement(table, limit, false);
  const next = pageStatement(table, limit, true);
  let after: Record<string, ParameterValue> | undefined;
  for (;;) {
    const rows: Record<string, ParameterValue>[] = after === undefined ? await executor.all(first, {}) : await executor.all(next, after);
    if (rows.length > 0) yield rows.map((row) => table.columns.map(({ name }) => encodeValue(row[name])));
    const last = rows.at(-1);
    if (last === undefined || rows.length < limit) return;
    after = Object.fromEntries(table.key.map((name) => [`after_${name}`, last[name] as ParameterValue]));
  }
}

function encodeValue(value: ParameterValue | undefined): string | number | null {
  if (value instanceof Uint8Array) return Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString("base64");
  return (value ?? null) as string | number | null;
}

type Page = Statement<Record<string, ParameterValue>, Record<string, ParameterValue>>;

function pageStatement(table: Table, limit: number, isNext: boolean): Page {
  const names = (list: readonly string[]) => sql.join(list.map((name) => sql.ref(name)));
  return statement<Record<string, ParameterValue>>()(idOf(isNext ? "next" : "first", table.name, table.columns), (db, p) => {
    const after = isNext ? sql`where (${names(table.key)}) > (${sql.join(table.key.map((name) => p[`after_${name}`]))})` : sql``;
    const query = sql<Record<string, ParameterValue>>`select ${names(table.columns.map(({ name }) => name))} from ${sql.table(table.name)}
      ${after} order by ${names(table.key)} limit ${sql.lit(limit)}`;
    return { compile: () => query.compile(db) };
  });
}

/** PostgreSQL takes 63 characters for a statement's name, and a migration may change a table's columns. */
function idOf(kind: string, table: string, columns: readonly Column[]): string {
  const text = [table, ...columns.map(({ name }) => name)].join();
  return `tables.${kind}.${createHash("sha256").update(text).digest("hex").slice(0, 32)}`;
}

/** Inserts rows, all of them. It is created once for each table. */
export type InsertRows = (executor: Executor, rows: readonly Row[]) => Promise<void>;

/** Creates the function that inserts rows into a table; their values are in the order of `columns`. */
export function createInsert(table: string, columns: readonly Column[]): InsertRows {
  // One parameter holds all values: a statement may have at most 32766 parameters, and SQLite has no arrays.
  const insert = statement<{ rows: string }>()(idOf("insert", table, columns), (db, p, tools) => ({
    compile: () => insertOf(db, p.rows, tools.name, table, columns),
  }));
  const bytesAt = columns.flatMap(({ kind }, at) => (kind === "bytes" ? [at] : []));
  return (executor, rows) => {
    // Both engines can read hexadecimal by themselves.
    const values =
      bytesAt.length === 0
        ? rows
        : rows.map((row) =>
            row.map((value, at) =>
              bytesAt.includes(at) && typeof value === "string" ? Buffer.from(value, "base64").toString("hex") : value,
            ),
          );
    return executor.run(insert, { rows: JSON.stringify(values) }, rows.length);
  };
}

function insertOf(db: Kysely<Schema>, rows: string, engine: "sqlite" | "postgres", table: string, columns: readonly Column[]) {
  const isSqlite = engine === "sqlite";
  const values = columns.map(({ kind }, at) => {
    const value = isSqlite ? sql.raw(`json_extract(each.value, '$[${at}]')`) : sql.raw(`(each.value ->> ${at})`);
    if (kind === "bytes") return isSqlite ? sql`unhex(${value})` : sql`decode(${value}, 'hex')`;
    return kind === "integer" && !isSqlite ? sql`${value}::bigint` : value;
  });
  const source = isSqlite ? sql`json_each(${rows}) as each` : sql`json_array_elements(${rows}::json) as each (value)`;
  return sql<never>`insert into ${sql.table(table)} (${sql.join(columns.map(({ name }) => sql.ref(name)))})
    select ${sql.join(values)} from ${source}`.compile(db);
}

const listCounters = raw<{ name: string; value: number | null }>("tables.counters", {
  sqlite: sql`select name, seq as value from sqlite_sequence`,
  postgres: sql`select c.relname::text as name, pg_sequence_last_value(s.oid) as value
    from pg_class as s join pg_depend as d on d.objid = s.oid and d.deptype in ('a', 'i') join pg_class as c on c.oid = d.refobjid
    where s.relkind = 'S' and c.relnamespace = (select oid from pg_namespace where nspname = current_schema())`,
});

/** The last id of each table with a counter. Ids are never reused, also those of deleted rows. */
export async function listIdCounters(executor: Executor): Promise<Record<string, number>> {
  const rows = await executor.all(listCounters, {});
  return Object.fromEntries(rows.filter((row) => row.value !== null).map((row) => [row.name, Number(row.value)]));
}

const raiseSqlite = statement<{ name: string; value: number }>()(
  "tables.raiseCounter",
  (db, p) => ({
    compile: () => sql<never>`update sqlite_sequence set seq = max(seq, ${p.value}) where name = ${p.name}`.compile(db),
  }),
  CATALOGUE,
);

const addSqlite = statement<{ name: string; value: number }>()(
  "tables.addCounter",
  (db, p) => ({
    compile: () => sql<never>`insert into sqlite_sequence (name, seq) values (${p.name}, ${p.value})`.compile(db),
  }),
  CATALOGUE,
);

const setPostgres = statement<{ name: string; value: number }>()(
  "tables.setCounter",
  (db, p) => ({
    compile: () => sql<never>`select setval(pg_get_serial_sequence(quote_ident(${p.name}::text), 'id'), ${p.value}::bigint)`.compile(db),
  }),
  CATALOGUE,
);

/** Sets the counter of a table's ids to `value`, which no row's id may exceed. The column is `id`. */
export async function setIdCounter(tx: Executor, name: string, value: number): Promise<void> {
  if (value < 1) return;
  if (tx.dialect === "postgres") await tx.all(setPostgres, { name, value });
  else if ((await tx.change(raiseSqlite, { name, value })) === 0) await tx.run(addSqlite, { name, value }, 1);
}
