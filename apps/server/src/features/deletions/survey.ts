// Looks at what a request to delete chooses: the tags and manifests, what holds them, and how much their going frees. Bounded: a plan has so many
// items and looks at so many rows, and says where the rest begins. Not here: the statements (survey-store.ts), what stays (choose.ts).
import type { Executor } from "../../platform/database/database.ts";
import { type Candidate, chooseStays, type Stay } from "./choose.ts";
import {
  type ChosenManifest,
  type ChosenTag,
  listBlobsOf,
  listHolders,
  listManifestsFrom,
  listManifestsNamed,
  listParentsOf,
  listPresent,
  listTagsFrom,
  listTagsNamed,
  listTagsOf,
  MAX_HOLDERS,
} from "./survey-store.ts";

/** What is chosen. */
export interface Selection {
  readonly action: "untag" | "delete";
  readonly tags?: readonly string[];
  readonly digests?: readonly string[];
  readonly prefix?: string;
  readonly untagged?: boolean;
  /** In milliseconds since 1970. */
  readonly pushedBefore?: number;
  readonly artifactType?: string;
  readonly after?: string;
}

/** One that was chosen. `tag` undefined: a manifest. */
export interface SurveyedItem {
  readonly tag: string | undefined;
  readonly digest: string;
  readonly stay: Stay | undefined;
}

/** What there is of what was chosen. */
export interface Survey {
  readonly items: readonly SurveyedItem[];
  readonly freedBytes: number;
  /** Where the rest begins. */
  readonly next: string | undefined;
}

/** Tags and manifests of one plan: some seconds of looking at the most, and some 10 MB of rows. */
export const MAX_ITEMS = 5000;
/** Rows that are looked at for what is wanted. */
const MAX_EXAMINED = 100_000;
const BATCH = 500;
/** Tags and parents of a batch: a batch with more keeps all whose holders are not all known. */
const MAX_HELD_BY = 20_000;

/** Surveys. */
export async function survey(executor: Executor, repositoryId: number, selection: Selection): Promise<Survey> {
  const { tags, next: nextTag } = await surveyTags(executor, repositoryId, selection);
  const tagItems = tags.map(({ name, digest }) => ({ tag: name, digest, stay: undefined }));
  if (selection.action === "untag") return { items: tagItems, freedBytes: 0, next: nextTag };
  const chosen = await surveyManifests(executor, repositoryId, selection, tags);
  const candidates = await findHolders(executor, repositoryId, chosen.manifests, new Set(tags.map(({ name }) => name)));
  const stays = chooseStays(candidates);
  const going = candidates.filter(({ digest }) => !stays.has(digest));
  // The tags of what stays stay with it.
  const goes = new Set(going.map(({ digest }) => digest));
  return {
    items: [
      ...tagItems.filter(({ digest }) => goes.has(digest)),
      ...candidates.map(({ digest }) => ({ tag: undefined, digest, stay: stays.get(digest) })),
    ],
    freedBytes: await sumFreed(executor, repositoryId, going),
    next: nextTag ?? chosen.next,
  };
}

async function surveyTags(
  executor: Executor,
  repositoryId: number,
  { tags: names, prefix, pushedBefore = Infinity, artifactType, after = "" }: Selection,
): Promise<{ tags: ChosenTag[]; next: string | undefined }> {
  const isChosen = (tag: ChosenTag): boolean =>
    tag.updated_at < pushedBefore && (artifactType === undefined || tag.artifact_type === artifactType);
  const tags =
    names === undefined || names.length === 0 ? [] : (await listTagsNamed(executor, repositoryId, [...new Set(names)])).filter(isChosen);
  if (prefix === undefined) return { tags, next: undefined };
  const known = new Set(tags.map(({ name }) => name));
  let place = after;
  for (let examined = 0; ;) {
    const rows = await listTagsFrom(executor, repositoryId, { after: place, prefix, limit: BATCH });
    tags.push(...rows.filter((row) => isChosen(row) && !known.has(row.name)));
    place = rows.at(-1)?.name ?? place;
    examined += rows.length;
    if (rows.length < BATCH) return { tags, next: undefined };
    if (examined >= MAX_EXAMINED || tags.length > MAX_ITEMS / 2 - BATCH) return { tags, next: place };
  }
}

async function surveyManifests(
  executor: Executor,
  repositoryId: number,
  { digests = [], untagged, pushedBefore = Infinity, artifactType, after = "" }: Selection,
  tags: readonly ChosenTag[],
): Promise<{ manifests: ChosenManifest[]; next: string | undefined }> {
  const isChosen = (manifest: { readonly created_at: number; readonly artifact_type: string | null }): boolean =>
    manifest.created_at < pushedBefore && (artifactType === undefined || manifest.artifact_type === artifactType);
  const byDigest = new Map<string, ChosenManifest>();
  // Of what a chosen tag names, the tag's time was asked for.
  for (const row of await listNamed(executor, repositoryId, new Set(tags.map(({ digest }) => digest)))) byDigest.set(row.digest, row);
  for (const row of await listNamed(executor, repositoryId, new Set(digests))) if (isChosen(row)) byDigest.set(row.digest, row);
  if (untagged !== true) return { manifests: [...byDigest.values()], next: undefined };
  let place = after;
  for (let examined = 0; ;) {
    const rows = await listManifestsFrom(executor, repositoryId, place, BATCH);
    for (const row of rows) if (row.is_tagged === 0 && isChosen(row)) byDigest.set(row.digest, row);
    place = rows.at(-1)?.digest ?? place;
    examined += rows.length;
    if (rows.length < BATCH) return { manifests: [...byDigest.values()], next: undefined };
    if (examined >= MAX_EXAMINED || byDigest.size + tags.length > MAX_ITEMS - BATCH)
      return { manifests: [...byDigest.values()], next: place };
  }
}

async function listNamed(executor: Executor, repositoryId: number, digests: ReadonlySet<string>): Promise<ChosenManifest[]> {
  const found: ChosenManifest[] = [];
  for (const batch of batches([...digests])) found.push(...(await listManifestsNamed(executor, repositoryId, batch)));
  return found;
}

async function findHolders(
  executor: Executor,
  repositoryId: number,
  manifests: readonly ChosenManifest[],
  chosenTags: ReadonlySet<string>,
): Promise<Candidate[]> {
  const candidates: Candidate[] = [];
  for (const batch of batches(manifests)) {
    const digests = batch.map(({ digest }) => digest);
    const subjects = batch.flatMap(({ subject_digest }) => subject_digest ?? []);
    const tags = await listTagsOf(
      executor,
      batch.map(({ id }) => id),
      MAX_HELD_BY,
    );
    const parents = await listParentsOf(executor, repositoryId, digests, MAX_HELD_BY);
    const present = await listPresent(executor, repositoryId, [...new Set(subjects)]);
    const isCrowded = tags.length === MAX_HELD_BY || parents.length === MAX_HELD_BY;
    const tagsOf = Map.groupBy(tags, ({ manifest_id }) => manifest_id);
    const parentsOf = Map.groupBy(parents, ({ child_digest }) => child_digest);
    for (const { id, digest, size_bytes: sizeBytes, subject_digest: subject } of batch) {
      candidates.push({
        id,
        digest,
        sizeBytes,
        otherTag: tagsOf.get(id)?.find(({ name }) => !chosenTags.has(name))?.name,
        parents: (parentsOf.get(digest) ?? []).map((parent) => parent.digest),
        subject: subject !== null && present.has(subject) ? subject : undefined,
        isCrowded,
      });
    }
  }
  return candidates;
}

/** Bytes of manifests, and of blobs that none but these hold. */
async function sumFreed(executor: Executor, repositoryId: number, going: readonly Candidate[]): Promise<number> {
  const held = new Map<number, number>();
  for (const batch of batches(going.map(({ id }) => id))) {
    for (const { blob_id } of await listBlobsOf(executor, batch)) held.set(blob_id, (held.get(blob_id) ?? 0) + 1);
  }
  let sum = going.reduce((bytes, { sizeBytes }) => bytes + sizeBytes, 0);
  for (const batch of batches([...held.keys()])) {
    for (const { id, size_bytes, holders, named_by } of await listHolders(executor, repositoryId, batch)) {
      if (named_by === null && holders !== null && holders < MAX_HOLDERS && holders === held.get(id)) sum += size_bytes;
    }
  }
  return sum;
}

function batches<T>(all: readonly T[]): T[][] {
  return Array.from({ length: Math.ceil(all.length / BATCH) }, (_, at) => all.slice(at * BATCH, (at + 1) * BATCH));
}
