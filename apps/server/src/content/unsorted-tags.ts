// Tags without what they are sorted by: those that were there before it was kept, and those that a program of the release before has set. It is
// written batch by batch, on any number of replicas; until then such tags lie before the least in other orders than that of names.
// Not here: when it runs (compose/jobs.ts), what a push writes (tags.ts).
import { algorithmOf, digestOf, type Digest } from "@berth/oci/digest";
import { namedBytes } from "@berth/oci/named-bytes";
import { versionKey } from "@berth/oci/version-key";
import { type Database, type Executor, ON_FULL_DISK } from "../platform/database/database.ts";
import { statement } from "../platform/database/statement.ts";

/** Tags of one transaction, and bytes of manifests that it reads: they have up to megabytes each. */
const BATCH = 200;
const BATCH_BYTES = 4 * 1024 * 1024;

const findAny = statement<Record<never, never>>()(
  "unsorted.findAny",
  (db) => db.selectFrom("tag").select("name").whereRef("sorted_manifest_id", "<>", "manifest_id").limit(1),
  { bounded: "the index holds what waits to be sorted, and ends at the first" },
);

const lockSome = statement<{ limit: number }>()(
  "unsorted.lock",
  (db, p, tools) =>
    db
      .selectFrom("tag")
      .select(["repository_id", "name", "manifest_id"])
      .whereRef("sorted_manifest_id", "<>", "manifest_id")
      .orderBy("repository_id")
      .orderBy("name")
      .limit(p.limit)
      .modifyEnd(tools.lock("update skip locked")),
  { bounded: "one batch of the same index, in its order" },
);

const listSizes = statement<{ ids: number[] }>()("unsorted.sizes", (db, p, tools) =>
  db
    .selectFrom("manifest")
    .select(["id", "size_bytes"])
    .where(({ ref }) => tools.inList(ref("id"), p.ids, "bigint")),
);

const readBytes = statement<{ id: number }>()("unsorted.bytes", (db, p) =>
  db.selectFrom("manifest").select(["digest", "bytes"]).where("id", "=", p.id),
);

const sort = statement<{ repositoryId: number; name: string; manifestId: number; versionKey: string; contentBytes: number }>()(
  "unsorted.sort",
  (db, p) =>
    db
      .updateTable("tag")
      .set({ version_key: p.versionKey, content_bytes: p.contentBytes, sorted_manifest_id: p.manifestId })
      .where("repository_id", "=", p.repositoryId)
      .where("name", "=", p.name),
);

/** Writes what a batch of tags is sorted by; false where there is none, or others are busy with what is left. */
export async function sortTags(database: Database): Promise<boolean> {
  if ((await database.first(findAny, {})) === undefined) return false;
  return database.transaction(async (tx) => {
    const tags = await tx.all(lockSome, { limit: BATCH });
    const sizes = new Map<number, number>();
    for (const { id, size_bytes } of await tx.all(listSizes, { ids: [...new Set(tags.map((tag) => tag.manifest_id))] }))
      sizes.set(id, size_bytes);
    const contentBytes = new Map<number, number>();
    let bytes = 0;
    let sorted = 0;
    for (const { repository_id: repositoryId, name, manifest_id: manifestId } of tags) {
      const sizeBytes = sizes.get(manifestId) ?? 0;
      if (!contentBytes.has(manifestId)) {
        bytes += sizeBytes;
        if (bytes > BATCH_BYTES && sorted > 0) break;
        contentBytes.set(manifestId, Math.min(sizeBytes + (await namedBy(tx, manifestId)), Number.MAX_SAFE_INTEGER));
      }
      const written = { repositoryId, name, manifestId, versionKey: versionKey(name), contentBytes: contentBytes.get(manifestId)! };
      await tx.run(sort, written, 1);
      sorted++;
    }
    return sorted > 0;
  }, ON_FULL_DISK);
}

/** Bytes that a manifest names; 0 where its own are damaged, of which nothing is known. */
async function namedBy(tx: Executor, manifestId: number): Promise<number> {
  const row = await tx.first(readBytes, { id: manifestId });
  if (row === undefined || digestOf(row.bytes, algorithmOf(row.digest as Digest)) !== row.digest) return 0;
  return namedBytes(JSON.parse(Buffer.from(row.bytes).toString("utf8")) as Record<string, unknown>);
}
