// Manifests whose edges were read by an earlier release, which held less of what they name: they are read again, batch by batch, and until
// then nothing that they may name is deleted. Safe on any number of replicas, beside programs of the previous release. Not here: when it
// runs (compose/jobs.ts, garbage.ts), what a manifest names (@berth/oci/named-digests).
import { algorithmOf, digestOf, type Digest } from "@berth/oci/digest";
import { namedDigests } from "@berth/oci/named-digests";
import { type Database, type Executor, ON_FULL_DISK } from "../platform/database/database.ts";
import { statement } from "../platform/database/statement.ts";

/** The rule by which this program reads edges: every digest in any field. 0: the rule of releases up to 0.1.0. */
export const EDGES_VERSION = 1;

/** The manifests that a transaction reads, and their total bytes: a manifest may have megabytes. */
const BATCH = 100;
const BATCH_BYTES = 4 * 1024 * 1024;

const findAny = statement<Record<never, never>>()(
  "older.findAny",
  (db) => db.selectFrom("manifest").select("id").where("edges_version", "=", 0).limit(1),
  { bounded: "the index holds what waits to be read again, and ends at the first" },
);

const findIn = statement<{ repositoryId: number }>()("older.findIn", (db, p) =>
  db.selectFrom("manifest").select("id").where("repository_id", "=", p.repositoryId).where("edges_version", "=", 0).limit(1),
);

const lockSome = statement<{ limit: number }>()(
  "older.lock",
  (db, p, tools) =>
    db
      .selectFrom("manifest")
      .select(["id", "digest", "size_bytes"])
      .where("edges_version", "=", 0)
      .orderBy("repository_id")
      .orderBy("id")
      .limit(p.limit)
      .modifyEnd(tools.lock("update skip locked")),
  { bounded: "one batch of the same index, in its order" },
);

const listBytes = statement<{ ids: number[] }>()("older.bytes", (db, p, tools) =>
  db
    .selectFrom("manifest")
    .select(["id", "bytes"])
    .where(({ ref }) => tools.inList(ref("id"), p.ids, "bigint")),
);

// A blob that a manifest holds by an edge to its row needs no second edge.
const putNamed = statement<{ digests: string[]; manifestIds: number[] }>()("older.putNamed", (db, p, tools) =>
  db
    .insertInto("manifest_sparse_blob")
    .columns(["repository_id", "digest", "manifest_id"])
    .expression((eb) =>
      eb
        .selectFrom(tools.pairs(p.digests, p.manifestIds).as("named"))
        .innerJoin("manifest", "manifest.id", "named.number")
        .select(["manifest.repository_id", "named.text", "manifest.id"])
        .where(({ not, exists, selectFrom }) =>
          not(
            exists(
              selectFrom("manifest_blob")
                .innerJoin("blob", "blob.id", "manifest_blob.blob_id")
                .select("manifest_blob.manifest_id")
                .whereRef("manifest_blob.manifest_id", "=", "manifest.id")
                .whereRef("blob.digest", "=", "named.text"),
            ),
          ),
        ),
    )
    .onConflict((conflict) => conflict.doNothing()),
);

const mark = statement<{ ids: number[]; version: number }>()("older.mark", (db, p, tools) =>
  db
    .updateTable("manifest")
    .set({ edges_version: p.version })
    .where(({ ref }) => tools.inList(ref("id"), p.ids, "bigint")),
);

/** Whether a manifest of the registry has not been read again yet. */
export async function hasOlderManifests(executor: Executor): Promise<boolean> {
  return (await executor.first(findAny, {})) !== undefined;
}

/** Whether a manifest of a repository has not been read again yet. */
export async function hasOlderManifestsIn(executor: Executor, repositoryId: number): Promise<boolean> {
  return (await executor.first(findIn, { repositoryId })) !== undefined;
}

/** Reads a batch again; false if there is none, or others have locked the rest. */
export async function readOlderManifests(database: Database): Promise<boolean> {
  if (!(await hasOlderManifests(database))) return false;
  return database.transaction(async (tx) => {
    const locked = await tx.all(lockSome, { limit: BATCH });
    let bytes = 0;
    const batch = locked.filter((row, at) => (bytes += row.size_bytes) <= BATCH_BYTES || at === 0);
    if (batch.length === 0) return false;
    const ids = batch.map((row) => row.id);
    const digestOfId = new Map(batch.map((row) => [row.id, row.digest as Digest]));
    const digests: string[] = [];
    const manifestIds: number[] = [];
    for (const row of await tx.all(listBytes, { ids })) {
      const own = digestOfId.get(row.id)!;
      // Nothing can be read from damaged bytes: the push that heals them brings the edges. `doctor --deep` finds them.
      if (digestOf(row.bytes, algorithmOf(own)) !== own) continue;
      for (const digest of namedDigests(JSON.parse(Buffer.from(row.bytes).toString("utf8")))) {
        digests.push(digest);
        manifestIds.push(row.id);
      }
    }
    if (digests.length > 0) await tx.run(putNamed, { digests, manifestIds }, { any: "most are held already" });
    await tx.run(mark, { ids, version: EDGES_VERSION }, ids.length);
    return true;
  }, ON_FULL_DISK);
}
