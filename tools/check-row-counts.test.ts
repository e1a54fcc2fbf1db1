import assert from "node:assert/strict";
import { it } from "node:test";
import { findIgnoredCounts } from "./check-row-counts.ts";

const problemsOf = (...lines: string[]): number => findIgnoredCounts([["a.ts", lines.join("\n")]]).length;

it("check row counts: finds writes whose number of rows nobody looks at", () => {
  assert.equal(problemsOf("  await tx.change(update, { id });"), 1);
  assert.equal(problemsOf("  void (await tx.change(update, { id }));"), 1);
  assert.equal(problemsOf("  await database.write(update, { id });"), 1);
  assert.equal(problemsOf("  await parts.database.write(update, { id });"), 1);
  assert.equal(problemsOf("  release: async (claimed) => void (await database.write(release, { id })),"), 1);
  assert.equal(problemsOf("  // It is fine.", "  await tx.change(update, { id });"), 1);
  assert.equal(problemsOf("  if (ids.length > 0) await database.write(drop, { ids });"), 1);
  assert.equal(problemsOf("  begin,", "  drop: async (claimed) => void (await database.write(drop, { id })),"), 1);
  assert.equal(problemsOf("", "  await database.write(", "    update,", "  );"), 1);
});

it("check row counts: passes those that are looked at, or said to matter to nobody", () => {
  assert.equal(problemsOf("  if ((await tx.change(update, { id })) === 0) return;"), 0);
  assert.equal(problemsOf("  return tx.change(update, { id });"), 0);
  assert.equal(problemsOf("  const rows = await database.write(update, { id });"), 0);
  assert.equal(problemsOf("  // Another may have done it.", "  await database.write(update, { id });"), 0);
  assert.equal(problemsOf("  return (", "    database.write(update, { id })", "  );"), 0);
  assert.equal(problemsOf("    (", "      await database.write(", "        record,", "      )", "    ).length > 0"), 0);
  assert.equal(problemsOf("  await place.write(name, body);", "  await fs.write(fd, buffer);"), 0);
});
