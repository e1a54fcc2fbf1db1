// Fills a database with any number of tags, repositories, referrers and blobs in minutes: bulk inserts through the server's own database,
// thousands of rows a transaction. The few rows that they hang from are made through the API before (setup.ts). Not here: what is measured.
import { hash } from "node:crypto";
import { setImmediate } from "node:timers/promises";
import { sql, type RawBuilder } from "kysely";
import type { Database } from "../../../apps/server/src/platform/database/database.ts";
import { statement, type DialectName } from "../../../apps/server/src/platform/database/statement.ts";
import { emptyBlob, manifestMediaType } from "../content.ts";
import type { Content } from "../content.ts";

/** Rows of one statement: 8 MB of JSON at most, and a transaction that a checkpoint can follow. */
const batchRows = 10_000;

/** The artifact types of the seeded referrers; one in a thousand is rare. */
export const referrerTypes = { usual: "application/vnd.example.sbom", rare: "application/vnd.example.signature" } as const;
const rareEvery = 1000;

/** What hangs from what: made through the API, so that it is as any client would leave it. */
export interface Anchors {
  readonly tagged: Content;
  readonly subject: Content;
}

/** The repositories and projects that the rows go to. */
export const places = {
  tags: "library/tags",
  referrers: "library/referrers",
  blobs: "library/blobs",
  /** One project with all the repositories. */
  wide: "wide",
  /** The opening of projects with one repository each. */
  narrow: "narrow-",
} as const;

/** The n-th of anything: sorts as it counts, up to ten million. */
export function numbered(index: number): string {
  return String(index).padStart(8, "0");
}

/** The name of the n-th repository of the wide project. */
export function wideRepository(index: number): string {
  return `${places.wide}/r${numbered(index)}`;
}

const knownName = "scale";

/**
 * The digest of the n-th of `total` known blobs; nobody has its bytes. They rise with n: rows that come in the order of an index go in ten
 * times as fast.
 */
export function knownDigest(index: number, total: number, name = knownName): string {
  const opening = Math.floor((index / total) * 2 ** 40)
    .toString(16)
    .padStart(10, "0");
  return `sha256:${opening}${hash("sha256", `${name} ${index}`, "hex").slice(opening.length)}`;
}

/** A list of lists as a table `row` with a column `value`, whose members are had with `->>`. */
function rowsOf(dialect: DialectName, json: string): RawBuilder<unknown> {
  return dialect === "sqlite" ? sql`json_each(${json}) as row` : sql`jsonb_array_elements(${json}::jsonb) as row(value)`;
}

const text = (column: number): RawBuilder<string> => sql`value ->> ${sql.lit(column)}`;
const bytes = (dialect: DialectName, column: number): RawBuilder<Uint8Array> =>
  dialect === "sqlite" ? sql`cast(${text(column)} as blob)` : sql`convert_to(${text(column)}, 'UTF8')`;

const findRepository = statement<{ name: string }>()("scale.findRepository", (db, p) =>
  db.selectFrom("repository").select(["id", "project_id"]).where("name", "=", p.name),
);
const findProject = statement<{ name: string }>()("scale.findProject", (db, p) =>
  db.selectFrom("project").select("id").where("name", "=", p.name),
);
const findManifest = statement<{ repositoryId: number; digest: string }>()("scale.findManifest", (db, p) =>
  db.selectFrom("manifest").select("id").where("repository_id", "=", p.repositoryId).where("digest", "=", p.digest),
);
const findBlob = statement<{ digest: string }>()("scale.findBlob", (db, p) =>
  db.selectFrom("blob").select("id").where("digest", "=", p.digest),
);
const putTags = statement<{ json: string; repositoryId: number; manifestId: number; now: number }>()("scale.putTags", (db, p, { name }) =>
  db
    .insertInto("tag")
    .columns(["repository_id", "name", "manifest_id", "updated_at"])
    .expression(
      sql`select cast(${p.repositoryId} as bigint), ${text(0)}, cast(${p.manifestId} as bigint), cast(${p.now} as bigint)
          from ${rowsOf(name, p.json)} where true`,
    ),
);
const putHistory = statement<{ json: string; repositoryId: number; digest: string; now: number }>()("scale.putHistory", (db, p, { name }) =>
  db
    .insertInto("tag_history")
    .columns(["repository_id", "name", "digest", "account_id", "at"])
    .expression(
      sql`select cast(${p.repositoryId} as bigint), ${text(0)}, cast(${p.digest} as text), null, cast(${p.now} as bigint)
          from ${rowsOf(name, p.json)} where true`,
    ),
);
const putRepositories = statement<{ json: string; projectId: number; now: number }>()("scale.putRepositories", (db, p, { name }) =>
  db
    .insertInto("repository")
    .columns(["project_id", "name", "created_at"])
    .expression(sql`select cast(${p.projectId} as bigint), ${text(0)}, cast(${p.now} as bigint) from ${rowsOf(name, p.json)} where true`),
);
const putProjects = statement<{ json: string; now: number }>()("scale.putProjects", (db, p, { name }) =>
  db
    .insertInto("project")
    .columns(["name", "sort_key", "is_public", "created_at"])
    .expression(sql`select ${text(0)}, ${text(0)} || '/', 0, cast(${p.now} as bigint) from ${rowsOf(name, p.json)} where true`),
);
const putProjectRepositories = statement<{ from: number; to: number; now: number }>()("scale.putProjectRepositories", (db, p) =>
  db
    .insertInto("repository")
    .columns(["project_id", "name", "created_at"])
    .expression(
      sql`select id, name || '/app', cast(${p.now} as bigint) from project where id > ${p.from} and id <= ${p.to} and name like 'narrow-%'`,
    ),
);
const linkRepositories = statement<{ from: number; to: number; projectId: number; blobId: number }>()("scale.linkRepositories", (db, p) =>
  db
    .insertInto("repository_blob")
    .columns(["repository_id", "blob_id", "leased_until"])
    .expression(
      // The plus keeps SQLite from walking the project's index for each range of ids.
      sql`select id, cast(${p.blobId} as bigint), null from repository where id > ${p.from} and id <= ${p.to} and +project_id = ${p.projectId}`,
    ),
);
const putBlobs = statement<{ json: string; now: number }>()("scale.putBlobs", (db, p, { name }) =>
  db
    .insertInto("blob")
    .columns(["digest", "size_bytes", "storage_key", "created_at", "damaged_at"])
    .expression(
      sql`select ${text(0)}, cast(${text(2)} as bigint), ${text(1)}, cast(${p.now} as bigint), null from ${rowsOf(name, p.json)} where true`,
    ),
);
const linkBlobs = statement<{ from: number; to: number; repositoryId: number; leasedUntil: number | null }>()("scale.linkBlobs", (db, p) =>
  db
    .insertInto("repository_blob")
    .columns(["repository_id", "blob_id", "leased_until"])
    .expression(
      sql`select cast(${p.repositoryId} as bigint), id, cast(${p.leasedUntil} as bigint) from blob where id > ${p.from} and id <= ${p.to}`,
    ),
);
const putReferrers = statement<{ json: string; repositoryId: number; subject: string; now: number }>()(
  "scale.putReferrers",
  (db, p, { name }) =>
    db
      .insertInto("manifest")
      .columns([
        "repository_id",
        "digest",
        "media_type",
        "artifact_type",
        "subject_digest",
        "size_bytes",
        "annotations",
        "created_at",
        "bytes",
      ])
      .expression(
        sql`select cast(${p.repositoryId} as bigint), ${text(0)}, ${sql.lit(manifestMediaType)}, ${text(1)}, cast(${p.subject} as text),
            cast(${text(2)} as bigint), ${text(3)}, cast(${p.now} as bigint), ${bytes(name, 4)} from ${rowsOf(name, p.json)} where true`,
      ),
);
const holdReferrers = statement<{ from: number; to: number; repositoryId: number; blobId: number }>()("scale.holdReferrers", (db, p) =>
  db
    .insertInto("manifest_blob")
    .columns(["repository_id", "blob_id", "manifest_id"])
    .expression(
      sql`select repository_id, cast(${p.blobId} as bigint), id from manifest
          where id > ${p.from} and id <= ${p.to} and +repository_id = ${p.repositoryId} and media_type is not null`,
    ),
);
const putUploads = statement<{ json: string; repositoryId: number; now: number; expiresAt: number }>()(
  "scale.putUploads",
  (db, p, { name }) =>
    db
      .insertInto("upload")
      .columns(["id", "repository_id", "account_id", "algorithm", "record", "offset_bytes", "started_at", "expires_at"])
      .expression(
        sql`select ${text(0)}, cast(${p.repositoryId} as bigint), null, 'sha256', '{}', 0, cast(${p.now} as bigint),
            cast(${p.expiresAt} as bigint) from ${rowsOf(name, p.json)} where true`,
      ),
);

type Table = "project" | "repository" | "blob" | "manifest";
const lastIds = Object.fromEntries(
  (["project", "repository", "blob", "manifest"] as const).map((table) => [
    table,
    statement<Record<never, never>>()(`scale.last.${table}`, (db) => db.selectFrom(table).select("id").orderBy("id", "desc").limit(1)),
  ]),
) as Record<Table, ReturnType<ReturnType<typeof statement<Record<never, never>>>>>;

const eventual = { durable: false } as const;

/** Puts rows in thousands at a time, and goes over what was put. */
function createFiller(database: Database, progress: (text: string) => void) {
  const lastId = async (table: Table): Promise<number> =>
    ((await database.first(lastIds[table], {})) as { id: number } | undefined)?.id ?? 0;
  return {
    async insertRows(
      what: string,
      total: number,
      rowOf: (index: number) => unknown[],
      put: (json: string) => Promise<unknown>,
    ): Promise<void> {
      progress(`${total} ${what}`);
      for (let from = 0; from < total; from += batchRows) {
        const length = Math.min(batchRows, total - from);
        await put(JSON.stringify(Array.from({ length }, (_, index) => rowOf(from + index))));
        // Writes that wait for no disk never leave the event loop, where a checkpoint wants to report.
        await setImmediate();
      }
    },
    /** Goes over the rows that `make` adds to a table, in ranges of ids. */
    async derive(table: Table, make: () => Promise<void>, each: (from: number, to: number) => Promise<unknown>): Promise<void> {
      const before = await lastId(table);
      await make();
      const after = await lastId(table);
      for (let from = before; from < after; from += batchRows) {
        await each(from, Math.min(after, from + batchRows));
        await setImmediate();
      }
    },
  };
}

/** Blobs to seed: `leasedUntil` null is one that a manifest holds, as far as the collector can see. */
export interface BlobSeed {
  readonly repository: string;
  readonly count: number;
  /** Opens the names of their digests, so that two seeds do not meet. */
  readonly name: string;
  readonly leasedUntil: number | null;
  /** Called with the keys before their rows are put. */
  readonly onKeys?: (keys: readonly string[]) => Promise<void>;
}

/** Adds blobs, each of 4 KiB as far as the database knows, to one repository. */
export async function seedBlobs(database: Database, seed: BlobSeed, progress: (text: string) => void): Promise<void> {
  const { insertRows, derive } = createFiller(database, progress);
  const now = Date.now();
  const { id: repositoryId } = await must(database.first(findRepository, { name: seed.repository }), seed.repository);
  const keyOf = (index: number): string => {
    const hex = knownDigest(index, seed.count, seed.name).slice("sha256:".length);
    return `blobs/sha256/${hex.slice(0, 2)}/${hex}.seeded-${numbered(index)}.seed.${index}`;
  };
  await derive(
    "blob",
    () =>
      insertRows(
        "blobs",
        seed.count,
        (index) => [knownDigest(index, seed.count, seed.name), keyOf(index), 4096],
        async (json) => {
          await seed.onKeys?.((JSON.parse(json) as [string, string][]).map(([, key]) => key));
          await database.write(putBlobs, { json, now }, eventual);
        },
      ),
    (from, to) => database.write(linkBlobs, { from, to, repositoryId, leasedUntil: seed.leasedUntil }, eventual),
  );
  await database.sync();
}

const countLeases = statement<Record<never, never>>()("scale.countLeases", (db) =>
  db
    .selectFrom("repository_blob")
    .select(({ fn }) => fn.countAll<number>().as("count"))
    .where("leased_until", "is not", null),
);
const countReclaims = statement<Record<never, never>>()("scale.countReclaims", (db) =>
  db.selectFrom("reclaim").select(({ fn }) => fn.countAll<number>().as("count")),
);

/** Links with a lease, and keys that wait for their deletion. */
export async function countDead(database: Database): Promise<number> {
  const links = await database.first(countLeases, {});
  const keys = await database.first(countReclaims, {});
  return Number(links?.count ?? 0) + Number(keys?.count ?? 0);
}

/** Fills the database with `count` of everything, and `blobs` blobs. Says what it does to `progress`. */
export async function seedDatabase(
  database: Database,
  anchors: Anchors,
  size: { readonly count: number; readonly blobs: number },
  progress: (text: string) => void,
): Promise<void> {
  const now = Date.now();
  const { count } = size;
  const idOf = async (name: string): Promise<number> => (await must(database.first(findRepository, { name }), name)).id;
  const tagsId = await idOf(places.tags);
  const referrersId = await idOf(places.referrers);
  const { id: wideId } = await must(database.first(findProject, { name: places.wide }), places.wide);
  const { id: manifestId } = await must(database.first(findManifest, { repositoryId: tagsId, digest: anchors.tagged.digest }), "manifest");
  const { id: emptyId } = await must(database.first(findBlob, { digest: emptyBlob.digest }), "empty blob");

  const { insertRows, derive } = createFiller(database, progress);
  await insertRows(
    "tags",
    count,
    (index) => [`t${numbered(index)}`],
    async (json) => {
      await database.write(putTags, { json, repositoryId: tagsId, manifestId, now }, eventual);
      await database.write(putHistory, { json, repositoryId: tagsId, digest: anchors.tagged.digest, now }, eventual);
    },
  );
  await derive(
    "repository",
    () =>
      insertRows(
        "repositories of one project",
        count,
        (index) => [wideRepository(index)],
        (json) => database.write(putRepositories, { json, projectId: wideId, now }, eventual),
      ),
    (from, to) => database.write(linkRepositories, { from, to, projectId: wideId, blobId: emptyId }, eventual),
  );
  await derive(
    "project",
    () =>
      insertRows(
        "projects of one repository",
        count,
        (index) => [`${places.narrow}${numbered(index)}`],
        (json) => database.write(putProjects, { json, now }, eventual),
      ),
    (from, to) => database.write(putProjectRepositories, { from, to, now }, eventual),
  );
  const byDigest = referrersByDigest(count, anchors.subject);
  await derive(
    "manifest",
    () =>
      insertRows(
        "referrers of one subject",
        count,
        (index) => referrerRow(byDigest[index] ?? 0, anchors.subject).row,
        (json) => database.write(putReferrers, { json, repositoryId: referrersId, subject: anchors.subject.digest, now }, eventual),
      ),
    (from, to) => database.write(holdReferrers, { from, to, repositoryId: referrersId, blobId: emptyId }, eventual),
  );
  await seedBlobs(database, { repository: places.blobs, count: size.blobs, name: knownName, leasedUntil: null }, progress);
  // A tenth: open uploads are few wherever clients end them.
  await insertRows(
    "open uploads",
    Math.ceil(count / 10),
    (index) => [`seeded-${numbered(index)}`],
    (json) => database.write(putUploads, { json, repositoryId: tagsId, now, expiresAt: now + 7 * 86_400_000 }, eventual),
  );
  await database.sync();
  // What PostgreSQL's own autovacuum does within a minute or so; SQLite's planner goes without.
  if (database.dialect === "postgres") await database.script("vacuum analyze");
}

/** The numbers of the referrers in the order of their digests, for the same reason as `knownDigest`. */
function referrersByDigest(count: number, subject: Content): Uint32Array {
  const digests = Array.from({ length: count }, (_, index) => referrerRow(index, subject).digest);
  return Uint32Array.from(digests.keys()).sort((a, b) => ((digests[a] ?? "") < (digests[b] ?? "") ? -1 : 1));
}

/** A manifest that names the subject, as a row: digest, artifact type, size, annotations, bytes. */
function referrerRow(index: number, subject: Content): { readonly digest: string; readonly row: unknown[] } {
  const artifactType = index % rareEvery === rareEvery - 1 ? referrerTypes.rare : referrerTypes.usual;
  const annotations = { "org.example.note": `referrer ${index}` };
  const descriptor = { mediaType: "application/vnd.oci.empty.v1+json", digest: emptyBlob.digest, size: emptyBlob.size };
  const manifest = JSON.stringify({
    schemaVersion: 2,
    mediaType: manifestMediaType,
    artifactType,
    config: descriptor,
    layers: [descriptor],
    subject: { mediaType: manifestMediaType, digest: subject.digest, size: subject.size },
    annotations,
  });
  const digest = `sha256:${hash("sha256", manifest, "hex")}`;
  return { digest, row: [digest, artifactType, manifest.length, JSON.stringify(annotations), manifest] };
}

async function must<T>(found: Promise<T | undefined>, what: string): Promise<T> {
  const row = await found;
  if (row === undefined) throw new Error(`the ${what} to seed under is not there`);
  return row;
}
