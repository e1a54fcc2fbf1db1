// Queries as values: built once with Kysely, compiled once for each dialect, run many times with named parameters.
// Not here: connections (sqlite.ts, postgres.ts) and the queries themselves (the stores).
import {
  DummyDriver,
  Kysely,
  PostgresAdapter,
  PostgresIntrospector,
  PostgresQueryCompiler,
  sql,
  SqliteAdapter,
  SqliteIntrospector,
  SqliteQueryCompiler,
  type Compilable,
  type Expression,
  type RawBuilder,
} from "kysely";
import type { Schema } from "./schema.ts";

/** The engines that Berth runs on. */
export type DialectName = "sqlite" | "postgres";

/** A parameter's value as a statement takes it. A list goes to `inList` or `rows` only. */
export type ParameterValue = string | number | null | Uint8Array | readonly string[] | readonly number[];

/** The differences between the engines that queries must know. */
export interface DialectTools {
  readonly name: DialectName;
  /** `column` is one of a list parameter's values. */
  inList<T extends string | number>(column: Expression<unknown>, list: readonly T[], type: "text" | "bigint"): RawBuilder<boolean>;
  /** A list parameter as a table of one column, `value`. Use as `select … from ${rows(…)} as name`. */
  rows<T extends string | number>(list: readonly T[], type: "text" | "bigint"): RawBuilder<{ value: T }>;
  /** Two list parameters of one length as a table of two columns, `text` and `number`. Use as `select … from ${pairs(…)} as name`. */
  pairs(texts: readonly string[], numbers: readonly number[]): RawBuilder<{ text: string; number: number }>;
  /** Two list parameters of numbers as a table of columns `a` and `b`. */
  numberPairs(a: readonly number[], b: readonly number[]): RawBuilder<{ a: number; b: number }>;
  /** Locks the rows of a select: nothing on SQLite, where one writer runs at a time. */
  lock(strength: "update" | "update skip locked" | "key share"): RawBuilder<unknown>;
  /** The greater of two values; on SQLite, null if one of them is. */
  greatest(a: Expression<unknown>, b: Expression<unknown>): RawBuilder<number>;
}

/** A compiled query: its text, and the parameter at each place. */
export interface CompiledStatement {
  readonly text: string;
  readonly places: readonly (string | { readonly constant: unknown })[];
  /** Names the prepared statement on a connection. */
  readonly id: string;
}

/**
 * The cost of a statement that does not use an index for exactly its rows (plans.test.ts requires that of all others).
 * - `bounded`: it sorts or scans, and this is the bound.
 * - `analytical`: it reads as much as there is, for this reason. PostgreSQL plans it freely, on few connections at a time and without the
 * usual timeout.
 */
export type Effort = { readonly bounded: string } | { readonly analytical: string };

/** A query with parameters `P` and rows `R`. */
export interface Statement<P, R> {
  readonly effort?: Effort | undefined;
  compiled(dialect: DialectName): CompiledStatement;
  /** Types only. */
  readonly __types?: (parameters: P) => R;
}

class Parameter {
  readonly name: string;
  constructor(name: string) {
    this.name = name;
  }
}

type Parameters<P> = { readonly [K in keyof P]-?: P[K] };

/**
 * Defines a statement. `build` gets the query builder, the parameters by name, and the differences of the dialects; it runs once for each
 * dialect. The id must be unique; it names the statement on every PostgreSQL connection.
 */
export function statement<P extends Readonly<Record<string, ParameterValue>>>(): <R>(
  id: string,
  build: (db: Kysely<Schema>, parameters: Parameters<P>, tools: DialectTools) => Compilable<R>,
  effort?: Effort,
) => Statement<P, R> {
  return (id, build, effort) => {
    const compiled = new Map<DialectName, CompiledStatement>();
    return {
      effort,
      compiled(dialect) {
        let found = compiled.get(dialect);
        if (found === undefined) {
          found = compile(id, dialect, (db, tools) => build(db, parameterNames as Parameters<P>, tools));
          compiled.set(dialect, found);
        }
        return found;
      },
    };
  };
}

// `parameters.anything` gives a placeholder that Kysely carries through to the compiled query untouched.
const parameterNames: unknown = new Proxy({}, { get: (_, name) => new Parameter(String(name)) });

function compile(
  id: string,
  dialect: DialectName,
  build: (db: Kysely<Schema>, tools: DialectTools) => Compilable<unknown>,
): CompiledStatement {
  const query = build(builders[dialect], toolsOf[dialect]).compile();
  return {
    id,
    text: query.sql,
    places: query.parameters.map((value) => (value instanceof Parameter ? value.name : { constant: value })),
  };
}

/** The values of a compiled statement's places, in order. */
export function bind(compiled: CompiledStatement, parameters: Readonly<Record<string, unknown>>): unknown[] {
  return compiled.places.map((place) => {
    if (typeof place !== "string") return place.constant;
    const value = parameters[place];
    if (value === undefined) throw new TypeError(`statement ${compiled.id}: parameter ${place} is missing`);
    return value;
  });
}

// Constants are written into the text, where a planner sees them: `limit 1` and `is_public = 1` lead to another plan than an unknown
// number.
class SqliteTextCompiler extends SqliteQueryCompiler {
  protected override appendValue(value: unknown): void {
    if (value instanceof Parameter || typeof value === "object") super.appendValue(value);
    else this.appendImmediateValue(value);
  }
}

class PostgresTextCompiler extends PostgresQueryCompiler {
  protected override appendValue(value: unknown): void {
    if (value instanceof Parameter || typeof value === "object") super.appendValue(value);
    else this.appendImmediateValue(value);
  }
}

const builders: Readonly<Record<DialectName, Kysely<Schema>>> = {
  sqlite: new Kysely<Schema>({
    dialect: {
      createAdapter: () => new SqliteAdapter(),
      createDriver: () => new DummyDriver(),
      createIntrospector: (db) => new SqliteIntrospector(db),
      createQueryCompiler: () => new SqliteTextCompiler(),
    },
  }),
  postgres: new Kysely<Schema>({
    dialect: {
      createAdapter: () => new PostgresAdapter(),
      createDriver: () => new DummyDriver(),
      createIntrospector: (db) => new PostgresIntrospector(db),
      createQueryCompiler: () => new PostgresTextCompiler(),
    },
  }),
};

// Without the limit SQLite would parse one list again for each row of the other: a second for two lists of 5,000. The limit makes it
// materialise a table of each, which it then indexes.
function jsonRows(list: readonly unknown[]): RawBuilder<{ key: number; value: unknown }> {
  return sql`(select key, value from json_each(${list}) limit -1)`;
}

const toolsOf: Readonly<Record<DialectName, DialectTools>> = {
  sqlite: {
    name: "sqlite",
    inList: (column, list) => sql<boolean>`${column} in (select value from json_each(${list}))`,
    rows: (list) => sql`(select value from json_each(${list}))`,
    pairs: (texts, numbers) =>
      sql`(select a.value as text, b.value as number from ${jsonRows(texts)} as a join ${jsonRows(numbers)} as b on a.key = b.key)`,
    numberPairs: (a, b) => sql`(select x.value as a, y.value as b from ${jsonRows(a)} as x join ${jsonRows(b)} as y on x.key = y.key)`,
    lock: () => sql``,
    greatest: (a, b) => sql<number>`max(${a}, ${b})`,
  },
  postgres: {
    name: "postgres",
    inList: (column, list, type) => sql<boolean>`${column} = any(${list}::${sql.raw(type)}[])`,
    rows: (list, type) => sql`(select unnest(${list}::${sql.raw(type)}[]) as value)`,
    pairs: (texts, numbers) => sql`(select * from unnest(${texts}::text[], ${numbers}::bigint[]) as pair (text, number))`,
    numberPairs: (a, b) => sql`(select * from unnest(${a}::bigint[], ${b}::bigint[]) as pair (a, b))`,
    lock: (strength) => sql.raw(`for ${strength}`),
    greatest: (a, b) => sql<number>`greatest(${a}, ${b})`,
  },
};
