// What tags are sorted by is written for those that came without it. Not here: lists in these orders (test/flows/tag-lists.test.ts).
import assert from "node:assert/strict";
import { it } from "node:test";
import { digestOf } from "@berth/oci/digest";
import { versionKey } from "@berth/oci/version-key";
import { forEachDatabase } from "../platform/database/databases.testing.ts";
import { statement } from "../platform/database/statement.ts";
import { sortTags } from "./unsorted-tags.ts";

const listAll = statement<Record<never, never>>()(
  "test.sorted_tags",
  (db) => db.selectFrom("tag").select(["name", "version_key", "content_bytes", "manifest_id", "sorted_manifest_id"]).orderBy("name"),
  { analytical: "a test" },
);

forEachDatabase("unsorted tags", (create) => {
  it("are sorted in batches, anew where an older program moved them, and those of damaged manifests as well", async (t) => {
    const test = await create();
    t.after(() => test.end());
    const manifests = [7, 8].map((size) =>
      JSON.stringify({ config: { digest: "sha256:a", size }, layers: [{ digest: "sha256:b", size: 10 }] }),
    );
    const hex = (text: string): string =>
      test.database.dialect === "sqlite" ? `x'${Buffer.from(text).toString("hex")}'` : `'\\x${Buffer.from(text).toString("hex")}'::bytea`;
    await test.database.script(`
      insert into project (id, name, sort_key, is_public, created_at) values (1, 'p', 'p/', 0, 0);
      insert into repository (id, project_id, name, created_at) values (1, 1, 'p/a', 0);
      ${manifests
        .map(
          (text, at) => `insert into manifest (id, repository_id, digest, media_type, size_bytes, created_at, bytes)
            values (${at + 1}, 1, '${digestOf(Buffer.from(text), "sha256")}', 'a/b', ${text.length}, 0, ${hex(text)});`,
        )
        .join("\n")}
      insert into manifest (id, repository_id, digest, media_type, size_bytes, created_at, bytes)
        values (3, 1, 'sha256:${"0".repeat(64)}', 'a/b', 3, 0, ${hex("not")});`);
    const values = Array.from({ length: 450 }, (_, n) => `(1, 'v1.${n}', ${n === 449 ? 3 : 1}, 0)`).join(", ");
    await test.database.script(`insert into tag (repository_id, name, manifest_id, updated_at) values ${values}`);
    let batches = 0;
    while (await sortTags(test.database)) batches++;
    assert.equal(batches, 3);
    const length = manifests[0]!.length;
    for (const tag of await test.database.all(listAll, {})) {
      assert.equal(tag.version_key, versionKey(tag.name));
      assert.equal(tag.content_bytes, tag.manifest_id === 3 ? 3 : length + 17);
      assert.equal(tag.sorted_manifest_id, tag.manifest_id);
    }
    await test.database.script("update tag set manifest_id = 2 where name = 'v1.7'");
    assert.equal(await sortTags(test.database), true);
    assert.equal(await sortTags(test.database), false);
    const moved = (await test.database.all(listAll, {})).find(({ name }) => name === "v1.7")!;
    assert.equal(moved.content_bytes, length + 18);
  });
});
