// Tags: which manifest each names, pages in byte order, and the history of every change. Not here: manifests (manifests.ts).
import type { Digest } from "@berth/oci/digest";
import { RegistryError } from "@berth/oci/errors";
import type { Tag } from "@berth/oci/reference";
import { versionKey } from "@berth/oci/version-key";
import type { ChangeSink } from "../access/changes.ts";
import { checkTag, refuseNarrowed } from "../access/tag-patterns.ts";
import type { Clock } from "../platform/clock.ts";
import { type Database, type Executor, ON_FULL_DISK } from "../platform/database/database.ts";
import { lostRace } from "../platform/database/row-counts.ts";
import { statement } from "../platform/database/statement.ts";
import { type ContentChange, placeOf } from "./changes.ts";
import { type GrantedRepository, repositoryTransaction } from "./repositories.ts";
import { checkTagWrites, type ContentRules, NO_RULES, tagRulesOf } from "./rules.ts";

/** The condition on a tag's state before it may be set. Source: RFC 9110, If-Match and If-None-Match, with digests as entity tags. */
export type TagCondition =
  | { readonly kind: "none" }
  /** It must name one of these; "*" means that it must exist. */
  | { readonly kind: "match"; readonly digests: readonly Digest[] | "*" }
  /** It must name none of these; "*" means that it must not exist. */
  | { readonly kind: "none-match"; readonly digests: readonly Digest[] | "*" };

/** One change of a tag. */
export interface TagChange {
  /** Undefined: deleted. */
  readonly digest: Digest | undefined;
  readonly accountId: number | null;
  readonly at: Date;
}

/** The tags of repositories. */
export interface Tags {
  /** Names after `startAfter` in byte order. */
  list(repository: GrantedRepository, startAfter: string, limit: number): Promise<Tag[]>;
  /** Deletes a tag; its manifest stays. Errors: MANIFEST_UNKNOWN if there is no such tag, PRECONDITION_FAILED. */
  delete(repository: GrantedRepository<"delete">, tag: Tag, condition?: TagCondition): Promise<void>;
  /** Changes of a tag, newest first, older than the change with id `before`. */
  listHistory(repository: GrantedRepository, tag: Tag, before: number | undefined, limit: number): Promise<(TagChange & { id: number })[]>;
}

const list = statement<{ repositoryId: number; startAfter: string; limit: number }>()("tags.list", (db, p) =>
  db
    .selectFrom("tag")
    .select("name")
    .where("repository_id", "=", p.repositoryId)
    .where("name", ">", p.startAfter)
    .orderBy("name")
    .limit(p.limit),
);

// Locks only the tag's row. If it were joined to its manifest, PostgreSQL would lock that as well, and after waiting for somebody who moves
// the tag it would join the new row to the old manifest and find nothing: an existing tag would be taken for absent.
const lock = statement<{ repositoryId: number; tag: string }>()("tags.lock", (db, p, tools) =>
  db
    .selectFrom("tag")
    .select("manifest_id")
    .where("repository_id", "=", p.repositoryId)
    .where("name", "=", p.tag)
    .modifyEnd(tools.lock("update")),
);

// Locks it with its manifest's digest, in one look-up. If the tag was moved while its lock was waited for, PostgreSQL may return the
// manifest's id without a digest.
const lockNamed = statement<{ repositoryId: number; tag: string }>()("tags.lockNamed", (db, p, tools) =>
  db
    .selectFrom("tag")
    .select((eb) => [
      "manifest_id",
      eb.selectFrom("manifest").select("digest").whereRef("manifest.id", "=", "tag.manifest_id").as("digest"),
    ])
    .where("repository_id", "=", p.repositoryId)
    .where("name", "=", p.tag)
    .modifyEnd(tools.lock("update")),
);

// A statement of its own, which sees a manifest that was inserted while the lock was waited for.
const findNamed = statement<{ manifestId: number }>()("tags.findNamed", (db, p) =>
  db.selectFrom("manifest").select("digest").where("id", "=", p.manifestId),
);

interface WrittenTag extends Record<string, string | number> {
  repositoryId: number;
  tag: string;
  manifestId: number;
  now: number;
  versionKey: string;
  contentBytes: number;
}

const insert = statement<WrittenTag>()("tags.insert", (db, p) =>
  db
    .insertInto("tag")
    .values({
      repository_id: p.repositoryId,
      name: p.tag,
      manifest_id: p.manifestId,
      updated_at: p.now,
      version_key: p.versionKey,
      content_bytes: p.contentBytes,
      sorted_manifest_id: p.manifestId,
    })
    .onConflict((conflict) => conflict.columns(["repository_id", "name"]).doNothing())
    .returning("name"),
);

const update = statement<WrittenTag>()("tags.update", (db, p) =>
  db
    .updateTable("tag")
    .set({
      manifest_id: p.manifestId,
      updated_at: p.now,
      version_key: p.versionKey,
      content_bytes: p.contentBytes,
      sorted_manifest_id: p.manifestId,
    })
    .where("repository_id", "=", p.repositoryId)
    .where("name", "=", p.tag),
);

const drop = statement<{ repositoryId: number; tag: string }>()("tags.drop", (db, p) =>
  db.deleteFrom("tag").where("repository_id", "=", p.repositoryId).where("name", "=", p.tag).returning("name"),
);

const record = statement<{ repositoryId: number; tag: string; digest: string | null; accountId: number | null; now: number }>()(
  "tags.record",
  (db, p) =>
    db
      .insertInto("tag_history")
      .values({ repository_id: p.repositoryId, name: p.tag, digest: p.digest, account_id: p.accountId, at: p.now }),
);

/** The tags that one pair of statements deletes: a manifest may have a million, and memory must hold one batch of names. */
const GONE_BATCH = 1000;

const dropSomeOf = statement<{ repositoryId: number; manifestId: number }>()("tags.dropSomeOf", (db, p) =>
  db
    .deleteFrom("tag")
    .where("repository_id", "=", p.repositoryId)
    .where("manifest_id", "=", p.manifestId)
    .where("name", "in", db.selectFrom("tag").select("name").where("manifest_id", "=", p.manifestId).limit(GONE_BATCH))
    .returning("name"),
);

const recordGone = statement<{ repositoryId: number; tags: string[]; accountId: number | null; now: number }>()(
  "tags.recordGone",
  (db, p, tools) =>
    db
      .insertInto("tag_history")
      .columns(["repository_id", "name", "digest", "account_id", "at"])
      .expression((eb) =>
        eb
          .selectFrom(tools.rows(p.tags, "text").as("gone"))
          .select(({ cast, lit, val }) => [
            cast<number>(val(p.repositoryId), "bigint").as("repository_id"),
            "gone.value",
            lit(null).as("digest"),
            cast<number | null>(val(p.accountId), "bigint").as("account_id"),
            cast<number>(val(p.now), "bigint").as("at"),
          ]),
      ),
);

const listHistory = statement<{ repositoryId: number; tag: string; before: number; limit: number }>()("tags.history", (db, p) =>
  db
    .selectFrom("tag_history")
    .select(["id", "digest", "account_id", "at"])
    .where("repository_id", "=", p.repositoryId)
    .where("name", "=", p.tag)
    .where("id", "<", p.before)
    .orderBy("id", "desc")
    .limit(p.limit),
);

/** A tag that is to name a manifest. */
export interface TagSet {
  readonly tag: Tag;
  readonly manifestId: number;
  readonly digest: Digest;
  /** Of the manifest and what it names itself. */
  readonly contentBytes: number;
  readonly condition: TagCondition;
}

/** The parts with which changes of tags are written. */
export interface TagWriting {
  readonly clock: Clock;
  readonly changes: ChangeSink<ContentChange>;
  readonly rules: ContentRules;
}

/** Tries for a tag that others create and delete between our statements. Each further try means that somebody else has made a change. */
const MAX_LOOKS = 10;

/**
 * Points a tag at a manifest, inside the transaction that stores it. The tag is locked until the transaction's end, so that the history has
 * the order of the commits. Returns the change, which the caller records with its own. Errors: PRECONDITION_FAILED.
 */
export async function setTag(
  tx: Executor,
  repository: GrantedRepository<"push">,
  { tag, manifestId, digest, contentBytes, condition }: TagSet,
  { clock, changes, rules }: TagWriting,
): Promise<readonly ContentChange[]> {
  const { grant, id: repositoryId } = repository;
  const asked = tagRulesOf(grant, rules);
  const written = { repositoryId, tag, manifestId, versionKey: versionKey(tag), contentBytes };
  let from: Digest | undefined;
  for (let looks = 1; ; looks++) {
    const isAsked = condition.kind !== "none" || changes.wants("tag.moved") || asked.length > 0;
    const current = isAsked ? await tx.first(lockNamed, { repositoryId, tag }) : await tx.first(lock, { repositoryId, tag });
    from = isAsked && current !== undefined ? await digestOf(tx, current) : undefined;
    checkCondition(tag, from, condition);
    if (current?.manifest_id === manifestId) return [];
    checkTag(grant, tag);
    if (asked.length > 0) await checkTagWrites(tx, repository, asked, [{ tag, from, to: digest }]);
    if (current !== undefined) {
      await tx.run(update, { ...written, now: clock.now() }, 1);
      break;
    }
    if ((await tx.first(insert, { ...written, now: clock.now() })) !== undefined) break;
    // Another push created the tag between the two statements: its digest, and whether it still exists, is checked again.
    if (looks === MAX_LOOKS) throw lostRace(`tag ${tag} came and went ${MAX_LOOKS} times`);
  }
  // The time at which the tag was locked: a writer that waited for it has a later time than the one that it waited for.
  await tx.run(record, { repositoryId, tag, digest, accountId: grant.actor.accountId, now: clock.now() }, 1);
  return [{ kind: "tag.moved", ...placeOf(repository), tag, from, to: digest }];
}

/**
 * The digest that came with a tag's lock; read again if the tag was moved, while the lock was waited for, to a manifest that the statement
 * could not see.
 */
async function digestOf(tx: Executor, { manifest_id, digest }: { manifest_id: number; digest?: string | null }): Promise<Digest> {
  return (digest as Digest | null | undefined) ?? (await digestNamed(tx, manifest_id));
}

/** The digest of a manifest that a locked tag names, and that therefore stays. */
async function digestNamed(tx: Executor, manifestId: number): Promise<Digest> {
  const row = await tx.first(findNamed, { manifestId });
  if (row === undefined) throw lostRace(`manifest ${manifestId} went although a tag named it`);
  return row.digest as Digest;
}

/** Deletes a tag inside a transaction; false if there was none. */
async function deleteTag(
  tx: Executor,
  repository: GrantedRepository<"delete">,
  tag: Tag,
  { clock, changes, rules }: TagWriting,
): Promise<boolean> {
  const { grant, id: repositoryId } = repository;
  checkTag(grant, tag);
  const asked = tagRulesOf(grant, rules);
  if (asked.length > 0) {
    const current = await tx.first(lockNamed, { repositoryId, tag });
    if (current === undefined) return false;
    await checkTagWrites(tx, repository, asked, [{ tag, from: await digestOf(tx, current), to: undefined }]);
  }
  if ((await tx.first(drop, { repositoryId, tag })) === undefined) return false;
  await tx.run(record, { repositoryId, tag, digest: null, accountId: grant.actor.accountId, now: clock.now() }, 1);
  await changes.record(tx, grant.actor, [{ kind: "tag.deleted", ...placeOf(repository), tag }]);
  return true;
}

const findNaming = statement<{ manifestId: number }>()("tags.naming", (db, p) =>
  db.selectFrom("tag").select("name").where("manifest_id", "=", p.manifestId).limit(1),
);

/** Whether a tag names a manifest, which is locked: who sets one waits. */
export async function hasTag(tx: Executor, manifestId: number): Promise<boolean> {
  return (await tx.first(findNaming, { manifestId })) !== undefined;
}

/** Deletes all tags that name a manifest, inside the transaction that deletes it. */
export async function deleteTagsOf(
  tx: Executor,
  repository: GrantedRepository<"delete">,
  { manifestId, digest }: { readonly manifestId: number; readonly digest: Digest },
  { clock, changes, rules }: TagWriting,
): Promise<void> {
  const { grant, id: repositoryId } = repository;
  const asked = tagRulesOf(grant, rules);
  let hadTags = false;
  for (;;) {
    const gone = await tx.all(dropSomeOf, { repositoryId, manifestId });
    for (const { name } of gone) checkTag(grant, name);
    // By a right that is narrowed to tags, a manifest is deleted with its tags, and so needs one.
    if (gone.length === 0 && !hadTags) refuseNarrowed(grant, `delete ${digest}, which has no tag`);
    if (gone.length === 0) return;
    hadTags = true;
    await tx.run(
      recordGone,
      { repositoryId, tags: gone.map((tag) => tag.name), accountId: grant.actor.accountId, now: clock.now() },
      gone.length,
    );
    const place = placeOf(repository);
    const tags = gone.map(({ name }) => name as Tag).toSorted();
    if (asked.length > 0) {
      await checkTagWrites(
        tx,
        repository,
        asked,
        tags.map((tag) => ({ tag, from: digest, to: undefined })),
      );
    }
    await changes.record(
      tx,
      grant.actor,
      tags.map((tag) => ({ kind: "tag.deleted", ...place, tag })),
    );
  }
}

/** Errors: PRECONDITION_FAILED if the present digest of `name` does not satisfy the condition. */
export function checkCondition(name: Tag | Digest, current: Digest | undefined, condition: TagCondition): void {
  if (condition.kind === "none") return;
  const isNamed = current !== undefined && (condition.digests === "*" || condition.digests.includes(current));
  if (isNamed !== (condition.kind === "match")) {
    throw new RegistryError("PRECONDITION_FAILED", { detail: { tag: name, current: current ?? null } });
  }
}

/** Creates the service for the tags of a database. */
export function createTags(database: Database, clock: Clock, changes: ChangeSink<ContentChange>, rules: ContentRules = NO_RULES): Tags {
  return {
    list: async ({ id: repositoryId }, startAfter, limit) =>
      (await database.all(list, { repositoryId, startAfter, limit })).map((row) => row.name as Tag),

    delete(given, tag, condition = { kind: "none" }) {
      const work = async (tx: Executor, repository: GrantedRepository<"delete">): Promise<void> => {
        if (condition.kind !== "none") {
          const current = await tx.first(lockNamed, { repositoryId: repository.id, tag });
          if (current === undefined) throw new RegistryError("MANIFEST_UNKNOWN", { detail: { tag } });
          checkCondition(tag, await digestOf(tx, current), condition);
        }
        if (!(await deleteTag(tx, repository, tag, { clock, changes, rules })))
          throw new RegistryError("MANIFEST_UNKNOWN", { detail: { tag } });
      };
      return repositoryTransaction(database, given, work, ON_FULL_DISK);
    },

    listHistory: async ({ id: repositoryId }, tag, before, limit) =>
      (await database.all(listHistory, { repositoryId, tag, before: before ?? Number.MAX_SAFE_INTEGER, limit })).map((row) => ({
        id: row.id,
        digest: (row.digest as Digest | null) ?? undefined,
        accountId: row.account_id,
        at: new Date(row.at),
      })),
  };
}
