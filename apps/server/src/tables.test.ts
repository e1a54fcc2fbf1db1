// The declared tables are compared with the databases that all steps create, on both engines, and nothing is undeclared: what a row refers
// to, and what happens to it. Not here: deleting by the declarations (platform/database/deletion.test.ts).
import assert from "node:assert/strict";
import { it } from "node:test";
import { forEachDatabase } from "./platform/database/databases.testing.ts";
import { createStatements, describeTables } from "./platform/database/declared-tables.testing.ts";
import type { Tables } from "./platform/database/table.ts";
import { TABLES } from "./tables.ts";

/** The differences between the two sides. */
function differences(declared: ReadonlyMap<string, string>, real: ReadonlyMap<string, string>): string[] {
  const names = [...new Set([...declared.keys(), ...real.keys()])].toSorted();
  return names.flatMap((name) => {
    const [one = "missing", other = "missing"] = [declared.get(name), real.get(name)];
    return one === other ? [] : [`${name}: declared ${one}; in the database ${other}`];
  });
}

forEachDatabase("declared tables", (create, dialect) => {
  it("are those of the database after all steps: columns, types, nullability, keys and indexes", async () => {
    const real = await create();
    const declared = await create({ migrated: false });
    try {
      for (const statement of createStatements(TABLES, dialect)) await declared.database.script(statement);
      const parts = await describeTables(real.database);
      assert.ok(parts.size > 200, `${parts.size} parts are few`);
      assert.deepEqual(differences(await describeTables(declared.database), parts), []);
    } finally {
      await declared.end();
      await real.end();
    }
  });

  it("that differ in any part are told apart", async () => {
    const real = await create();
    try {
      const before = await describeTables(real.database);
      const changes: readonly (readonly [string, RegExp])[] = [
        ["alter table tag add column note text", /^tag: column note: .* declared text|^tag: column note: declared missing/],
        ["create index tag_by_time on tag (updated_at)", /^tag: index tag_by_time: declared missing/],
        ["drop index job_by_due", /^job: index job_by_due: .*in the database missing/],
        ["create table stray (id bigint primary key)", /^stray: column id: declared missing/],
      ];
      for (const [change] of changes) await real.database.script(change);
      const found = differences(before, await describeTables(real.database));
      for (const [change, told] of changes)
        assert.ok(
          found.some((each) => told.test(each)),
          `${change}: ${found.join("\n")}`,
        );
    } finally {
      await real.end();
    }
  });
});

/** Columns that look like a reference to another table without declaring one, or that declare an impossible one. */
function undeclared(tables: Tables): string[] {
  return Object.entries(tables).flatMap(([name, { columns }]) =>
    Object.entries(columns).flatMap(([column, { reference, isNullable }]) => {
      const place = `${name}.${column}`;
      if (reference === undefined) return column.endsWith("_id") ? [`${place} does not say what it refers to`] : [];
      if (!(reference.table in tables)) return [`${place} refers to ${reference.table}, which is no table`];
      if (reference.fate === "cleared" && !isNullable) return [`${place} cannot be cleared: it must have a value`];
      const others = Object.values(columns).map((each) => each.reference?.fate);
      if (reference.fate === "follows" && !others.some((fate) => fate === "deleted" || fate === "cascade"))
        return [`${place} follows no other reference of its table`];
      if (reference.isEnforced && (reference.fate === "stays" || reference.fate === "follows"))
        return [`${place} cannot outlive what the database makes sure of`];
      return !reference.isEnforced && reference.fate === "cascade" ? [`${place}: the database knows nothing of it`] : [];
    }),
  );
}

it("tables: says of every column that names a row of another table what becomes of its rows", () => {
  assert.deepEqual(undeclared(TABLES), []);
});
