// Deletes the rows that refer to a row, as the tables declare it: which rows are deleted first and in which order, a batch at a time, and
// which rows prevent the deletion. A new table declares with its column what happens to its rows, and is found here. Not here: deleting the
// row itself, and its lock (its owner).
import type { Executor } from "./database.ts";
import { statement, type Statement } from "./statement.ts";
import type { Reference, TableDeclaration, Tables } from "./table.ts";

/** Deletes the rows that refer to rows of one table. The caller has locked the row, so that no further rows can refer to it. */
export interface Deletion {
  /** Deletes or clears a batch of one table's rows; false when none is left. */
  takeSome(tx: Executor, id: number): Promise<boolean>;
  /** Deletes all of them at once: for rows with few referrers. */
  takeAll(tx: Executor, id: number): Promise<void>;
  /**
   * The first column, as `table.column`, with a row that refuses the deletion or whose owner is still deleting it; undefined if there is
   * none.
   */
  findObstacle(tx: Executor, id: number): Promise<string | undefined>;
}

/** The number of rows in a transaction. */
const BATCH = 500;
/** The same for a table with bytes, whose rows may have megabytes and thousands of rows that refer to them. */
const BATCH_WITH_BYTES = 50;
const GONE = { any: "as many as are there: some may be gone by themselves" };

interface Referrer extends Reference {
  /** The table that has the column. */
  readonly from: string;
  readonly column: string;
  readonly declared: TableDeclaration;
}

/** The columns that refer to `table`. Tables that refer to others of the list come before them. */
function referrersOf(tables: Tables, table: string): Referrer[] {
  const found = Object.entries(tables).flatMap(([from, declared]) =>
    Object.entries(declared.columns).flatMap(([column, { reference }]) =>
      reference?.table === table ? [{ ...reference, from, column, declared }] : [],
    ),
  );
  const ordered: Referrer[] = [];
  while (found.length > ordered.length) {
    const open = found.filter((each) => !ordered.includes(each));
    const isNamed = (each: Referrer): boolean =>
      open.some(
        ({ from, declared }) =>
          from !== each.from && Object.values(declared.columns).some(({ reference }) => reference?.table === each.from),
      );
    const free = open.filter((each) => !isNamed(each));
    if (free.length === 0) throw new Error(`tables refer to each other in a ring: ${open.map(({ from }) => from).join(", ")}`);
    ordered.push(...free);
  }
  return ordered;
}

const goes = ({ fate }: Reference): boolean => fate === "deleted" || fate === "cleared";

// Queries are typed by table, but here tables are only known from their declarations.
type AnyTable = "tag";
type AnyColumn = "repository_id";

/** Creates the deletion for one table. Throws if a table's key does not allow batches. */
export function createDeletion(tables: Tables, table: string): Deletion {
  const referrers = referrersOf(tables, table);
  const steps = referrers.filter(goes).map((referrer) => takeSomeOf(tables, referrer));
  const obstacles = referrers
    .filter(({ fate }) => fate === "refuses" || fate === "waits")
    .map(({ from, column }) => ({
      place: `${from}.${column}`,
      any: statement<{ id: number }>()(nameOf({ table, from, column }, "any"), (db, p) =>
        db
          .selectFrom(from as AnyTable)
          .select(column as AnyColumn)
          .where(column as AnyColumn, "=", p.id)
          .limit(1),
      ),
    }));
  async function takeSome(tx: Executor, id: number): Promise<boolean> {
    for (const step of steps) if (await step(tx, id)) return true;
    return false;
  }
  return {
    takeSome,
    async takeAll(tx, id) {
      while (await takeSome(tx, id));
    },
    async findObstacle(tx, id) {
      for (const { place, any } of obstacles) if ((await tx.first(any, { id })) !== undefined) return place;
      return undefined;
    },
  };
}

/** A short name for a statement: PostgreSQL takes 63 characters. */
function nameOf({ table, from, column }: Pick<Referrer, "table" | "from" | "column">, what: string): string {
  return `deletion.${table}.${column === `${table}_id` ? from : `${from}.${column}`}.${what}`;
}

type TakeSome = (tx: Executor, id: number) => Promise<boolean>;
type TakeOfMany = (tx: Executor, ids: number[]) => Promise<void>;

/** Deletes or clears a batch of the rows that refer to one row. */
function takeSomeOf(tables: Tables, referrer: Referrer): TakeSome {
  const { from, column, declared, fate } = referrer;
  const others = declared.key.filter((name) => name !== column);
  const [other] = others;
  if (others.length > 1 || other === undefined)
    throw new Error(`the rows of ${from} cannot be taken in batches by ${column}: one more column of its key must tell them apart`);
  const hasBytes = Object.values(declared.columns).some(({ kind }) => kind === "bytes");
  const limit = hasBytes ? BATCH_WITH_BYTES : BATCH;
  const named = <T>(what: string, build: Parameters<ReturnType<typeof statement<{ id: number }>>>[1]): Statement<{ id: number }, T> =>
    statement<{ id: number }>()(nameOf(referrer, what), build) as Statement<{ id: number }, T>;
  if (declared.key.length === 1 && fate === "deleted") {
    const list = named<{ id: number }>("list", (db, p) =>
      db
        .selectFrom(from as "manifest")
        .select(`${other} as id` as "id")
        .where(column as AnyColumn, "=", p.id)
        .limit(limit),
    );
    const takeRows = takeRowsOf(tables, from, other, referrer);
    return async (tx, id) => {
      const ids = (await tx.all(list, { id })).map((row) => row.id);
      if (ids.length > 0) await takeRows(tx, ids);
      return ids.length > 0;
    };
  }
  if (referrersOf(tables, from).some(goes)) throw new Error(`${from} has rows that refer to it, and no key of one column`);
  const take = named("take", (db, p) => {
    const some = db
      .selectFrom(from as AnyTable)
      .select(other as "name")
      .where(column as AnyColumn, "=", p.id)
      .orderBy(other as "name")
      .limit(limit);
    return fate === "cleared"
      ? db
          .updateTable(from as AnyTable)
          .set({ [column]: null })
          .where(column as AnyColumn, "=", p.id)
          .where(other as "name", "in", some)
      : db
          .deleteFrom(from as AnyTable)
          .where(column as AnyColumn, "=", p.id)
          .where(other as "name", "in", some);
  });
  return async (tx, id) => (await tx.change(take, { id })) > 0;
}

/** Deletes rows of a table by their ids, after the rows that refer to them. */
function takeRowsOf(tables: Tables, table: string, key: string, by: Referrer): TakeOfMany {
  const referrers = referrersOf(tables, table).filter(goes);
  const steps = referrers.map((referrer) => takeOfMany(tables, referrer));
  const remove = statement<{ ids: number[] }>()(nameOf(by, "delete"), (db, p, tools) =>
    db.deleteFrom(table as "manifest").where(({ ref }) => tools.inList(ref(key as "id"), p.ids, "bigint")),
  );
  return async (tx, ids) => {
    for (const step of steps) await step(tx, ids);
    await tx.run(remove, { ids }, GONE);
  };
}

/** Deletes all rows that refer to any of a batch of rows. */
function takeOfMany(tables: Tables, referrer: Referrer): TakeOfMany {
  const { from, column, declared, fate } = referrer;
  const [key] = declared.key;
  if (fate === "deleted" && referrersOf(tables, from).some(goes)) {
    if (key === undefined || declared.key.length > 1) throw new Error(`${from} has rows that refer to it, and no key of one column`);
    const list = statement<{ ids: number[] }>()(nameOf(referrer, "listOfMany"), (db, p, tools) =>
      db
        .selectFrom(from as "manifest")
        .select(`${key} as id` as "id")
        .where(({ ref }) => tools.inList(ref(column as AnyColumn), p.ids, "bigint")),
    );
    const takeRows = takeRowsOf(tables, from, key, referrer);
    return async (tx, ids) => {
      const rows = (await tx.all(list, { ids })).map((row) => row.id);
      if (rows.length > 0) await takeRows(tx, rows);
    };
  }
  const take = statement<{ ids: number[] }>()(nameOf(referrer, "takeOfMany"), (db, p, tools) =>
    fate === "cleared"
      ? db
          .updateTable(from as AnyTable)
          .set({ [column]: null })
          .where(({ ref }) => tools.inList(ref(column as AnyColumn), p.ids, "bigint"))
      : db.deleteFrom(from as AnyTable).where(({ ref }) => tools.inList(ref(column as AnyColumn), p.ids, "bigint")),
  );
  return (tx, ids) => tx.run(take, { ids }, GONE);
}
