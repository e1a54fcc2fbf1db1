// How a table is declared, beside its owner: columns, keys and indexes, what its rows refer to and what becomes of them when that is deleted,
// and what a backup does with them. The types of queries come from it, and a test holds it against the real databases.
// Not here: the tables of the layers and features (their *-tables.ts), the steps that make them (migrations).
import type { Generated } from "kysely";

/** What a column holds: whole numbers up to 2^53, text, or bytes. Times are milliseconds since 1970, truth values 0 or 1, on both engines. */
export type ColumnKind = "integer" | "text" | "bytes";

/**
 * What becomes of a row when the row that it refers to is deleted.
 * - `deleted`: whoever deletes the other deletes it first, a batch at a time (deletion.ts).
 * - `cascade`: the database deletes it, also for programs that do not know the table.
 * - `cleared`: the column is set to null first.
 * - `refuses`: as long as it is there, the other cannot be deleted.
 * - `waits`: the same, but its owner is taking it away; the deletion is tried again.
 * - `follows`: it goes with another of its references; this column only repeats where it belongs.
 * - `stays`: it outlives the other. Ids are never given out twice, so that it never means anything else.
 */
export type Fate = "deleted" | "cascade" | "cleared" | "refuses" | "waits" | "follows" | "stays";

/** That a column names a row of another table. */
export interface Reference {
  readonly table: string;
  readonly fate: Fate;
  /** False: the database does not look whether that row exists. */
  readonly isEnforced: boolean;
}

/** A column of values `T`, as queries see them. */
export interface ColumnDeclaration<T> {
  readonly kind: ColumnKind;
  readonly isNullable: boolean;
  /** Counts up by itself. */
  readonly isCounter: boolean;
  /** Text that compares by bytes; other text is never compared in order. */
  readonly isOrdered: boolean;
  /** As SQL. */
  readonly standard?: string;
  /** As SQL. */
  readonly check?: string;
  readonly reference?: Reference;
  /** Types only. */
  readonly __value?: () => T;
}

type Columns = Readonly<Record<string, ColumnDeclaration<unknown>>>;

/**
 * What a backup does with the rows: it keeps them; keeps them for a restore with the same secret key, which seals them and without which they are
 * of no use; or leaves them out, since they mean something to one installation at one moment only.
 */
export type BackupRule = "kept" | "sealed" | "left out";

/** A table. */
export interface TableDeclaration<C extends Columns = Columns> {
  readonly columns: C;
  readonly key: readonly (keyof C & string)[];
  readonly backup: BackupRule;
  /** Rows lie in the order of the key where the engine can. */
  readonly isClustered?: boolean;
  /** Columns that are unique together. */
  readonly unique?: readonly (readonly (keyof C & string)[])[];
  /** By name: columns and condition, as they follow the table in `create index`. */
  readonly indexes?: Readonly<Record<string, string>>;
  readonly uniqueIndexes?: Readonly<Record<string, string>>;
  /** References of several columns at a time; their rows refuse that the other is deleted. */
  readonly foreignKeys?: readonly {
    readonly columns: readonly (keyof C & string)[];
    readonly table: string;
    readonly to: readonly string[];
  }[];
  /** The engine that has it as a table; both where it is not given. */
  readonly only?: "sqlite" | "postgres";
}

/** Tables by their names. */
export type Tables = Readonly<Record<string, TableDeclaration>>;

/** The rows of tables as queries see them: what an owner adds to `Schema`. */
export type RowsOf<T> = {
  [N in keyof T]: T[N] extends { readonly columns: infer C }
    ? { -readonly [K in keyof C]: C[K] extends ColumnDeclaration<infer V> ? V : never }
    : never;
};

const plain = { isNullable: false, isCounter: false, isOrdered: false } as const;

/** A table's number for a row. */
export function id(): ColumnDeclaration<Generated<number>> {
  return { ...plain, kind: "integer", isCounter: true };
}

/** A whole number. */
export function integer(): ColumnDeclaration<number> {
  return { ...plain, kind: "integer" };
}

/** A whole number that is `standard` where a row is written without it, as by programs that do not know the column. */
export function integerOr(standard: number): ColumnDeclaration<Generated<number>> {
  return { ...plain, kind: "integer", standard: String(standard) };
}

/** Text that compares by bytes. */
export function text<T extends string = string>(): ColumnDeclaration<T> {
  return { ...plain, kind: "text", isOrdered: true };
}

/** Text that is never compared in order. */
export function looseText<T extends string = string>(): ColumnDeclaration<T> {
  return { ...plain, kind: "text" };
}

/** Bytes. */
export function bytes(): ColumnDeclaration<Uint8Array> {
  return { ...plain, kind: "bytes" };
}

/** One of some words, which the database checks. */
export function word<const T extends string>(column: string, words: readonly T[]): ColumnDeclaration<T> {
  return { ...text<T>(), check: `${column} in (${words.map((each) => `'${each}'`).join(", ")})` };
}

/** A column that may have no value. */
export function nullable<T>({ __value: _, ...column }: ColumnDeclaration<T>): ColumnDeclaration<T | null> {
  return { ...column, isNullable: true };
}

/** The same, with the default of text: for columns that came after the rows. */
export function withStandard<T>(column: ColumnDeclaration<T>, standard: string): ColumnDeclaration<T> {
  return { ...column, standard: `'${standard}'` };
}

/** The id of a row of another table, which the database makes sure of. */
export function refersTo(table: string, fate: Fate): ColumnDeclaration<number> {
  return { ...integer(), reference: { table, fate, isEnforced: true } };
}

/** The id of a row of another table that the database knows nothing of. */
export function names(table: string, fate: Fate): ColumnDeclaration<number> {
  return { ...integer(), reference: { table, fate, isEnforced: false } };
}

/** Checks tables' types without widening them. */
export function defineTables<const T extends Readonly<Record<string, TableDeclaration<never> | TableDeclaration>>>(tables: T): T {
  return tables;
}
