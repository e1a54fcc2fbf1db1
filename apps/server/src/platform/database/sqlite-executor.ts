// Runs statements on one connection of SQLite, each prepared once. Not here: transactions, snapshots and durability (sqlite.ts).
import type { DatabaseSync, SQLInputValue, SQLOutputValue, StatementSync } from "node:sqlite";
import type { Executor } from "./database.ts";
import { checkRows } from "./row-counts.ts";
import { bind, type Statement } from "./statement.ts";

/** Creates an executor. `onBound` is called before each run with the size of its values, and its errors have passed `translate`. */
export function executorOf(connection: DatabaseSync, onBound: (bytes: number) => void, translate: (error: unknown) => unknown): Executor {
  const prepared = new Map<Statement<never, unknown>, StatementSync>();
  function prepare(query: Statement<never, unknown>): StatementSync {
    let found = prepared.get(query);
    if (found === undefined) {
      found = connection.prepare(query.compiled("sqlite").text);
      prepared.set(query, found);
    }
    return found;
  }
  // Lists are read as arrays and become rows here: the objects of node:sqlite take three times the memory and twice the time.
  const preparedLists = new Map<Statement<never, unknown>, { readonly list: StatementSync; readonly names: readonly string[] }>();
  function prepareList(query: Statement<never, unknown>): { readonly list: StatementSync; readonly names: readonly string[] } {
    let found = preparedLists.get(query);
    if (found === undefined) {
      const list = connection.prepare(query.compiled("sqlite").text);
      list.setReturnArrays(true);
      found = { list, names: list.columns().map(({ name }) => name) };
      preparedLists.set(query, found);
    }
    return found;
  }
  function values(query: Statement<never, unknown>, parameters: Readonly<Record<string, unknown>>): SQLInputValue[] {
    let bytes = 0;
    const bound = bind(query.compiled("sqlite"), parameters).map((value) => {
      const input = Array.isArray(value) ? JSON.stringify(value) : (value as SQLInputValue);
      if (typeof input === "string" || input instanceof Uint8Array) bytes += input.length;
      return input;
    });
    onBound(bytes);
    return bound;
  }
  function change(query: Statement<never, unknown>, parameters: Readonly<Record<string, unknown>>): number {
    try {
      return Number(prepare(query).run(...values(query, parameters)).changes);
    } catch (error) {
      throw translate(error);
    }
  }
  return {
    dialect: "sqlite",
    async all(query, parameters) {
      try {
        const { list, names } = prepareList(query);
        const rows = list.all(...values(query, parameters)) as unknown as SQLOutputValue[][];
        return rows.map((row) => rowOf(names, row)) as never;
      } catch (error) {
        throw translate(error);
      }
    },
    async first(query, parameters) {
      try {
        return prepare(query).get(...values(query, parameters)) as never;
      } catch (error) {
        throw translate(error);
      }
    },
    async run(query, parameters, expected) {
      checkRows(query.compiled("sqlite").id, change(query, parameters), expected);
    },
    change: async (query, parameters) => change(query, parameters),
  };
}

function rowOf(names: readonly string[], values: readonly SQLOutputValue[]): Record<string, SQLOutputValue> {
  const row: Record<string, SQLOutputValue> = {};
  for (let i = 0; i < names.length; i++) row[names[i]!] = values[i]!;
  return row;
}
