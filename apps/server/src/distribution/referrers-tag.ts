// The referrers tag of older clients: an index under a tag named after the subject's digest, which lists what refers to it. A page of its
// entries is in the order of digests, so that paging continues correctly when the tag moves. Not here: manifests that name their subject
// themselves (lists.ts).
import { algorithmOf, hexOf, isDigest, type Digest } from "@berth/oci/digest";
import { OCI_INDEX } from "@berth/oci/media-types";
import type { Tag } from "@berth/oci/reference";
import type { ManifestRow, Manifests } from "../content/manifests.ts";
import type { Referrers } from "../content/referrers.ts";
import type { GrantedRepository } from "../content/repositories.ts";
import type { ReferrerDescriptor } from "./lists.ts";

/** Entries that one request looks up, in one statement: the pusher of the index chose their number. */
const MAX_LOOKED_UP = 1000;

/** Which page. */
export interface TagPage {
  readonly artifactType: string | undefined;
  /** The digest after which it begins; empty for the first page. */
  readonly after: string;
  readonly limit: number;
  readonly maxBytes: number;
}

/** A page of entries, and the digest behind which the next begins; undefined at the end. A page may be empty and not the last. */
export interface TagEntries {
  readonly items: readonly ReferrerDescriptor[];
  readonly next: string | undefined;
}

/** Source: distribution-spec, Referrers Tag Schema. */
export async function listTagEntries(
  { manifests, referrers }: { readonly manifests: Manifests; readonly referrers: Referrers },
  repository: GrantedRepository,
  subject: Digest,
  { artifactType, after, limit, maxBytes }: TagPage,
): Promise<TagEntries> {
  const index = await findReferrersTag(manifests, repository, subject);
  if (index === undefined) return { items: [], next: undefined };
  const { manifests: listed } = JSON.parse(Buffer.from(await manifests.readBytes(index)).toString("utf8")) as { manifests?: unknown };
  const entries = entriesOf(listed)
    .filter((entry) => entry.digest > after && (artifactType === undefined || entry.artifactType === artifactType))
    .toSorted((one, other) => (one.digest < other.digest ? -1 : 1));
  const asked = entries.slice(0, MAX_LOOKED_UP);
  const subjects = await referrers.listSubjects(
    repository,
    asked.map((entry) => entry.digest),
  );
  const items: ReferrerDescriptor[] = [];
  let bytes = 0;
  let last = after;
  for (const entry of asked) {
    // Missing manifests cannot be pulled; those that name the subject themselves are listed already.
    if (subjects.has(entry.digest) && subjects.get(entry.digest) !== subject) {
      bytes += Buffer.byteLength(JSON.stringify(entry));
      if (items.length === limit || (items.length > 0 && bytes > maxBytes)) return { items, next: last };
      items.push(entry);
    }
    last = entry.digest;
  }
  return { items, next: entries.length > asked.length ? last : undefined };
}

/** The index that the tag names now. */
export async function findReferrersTag(
  manifests: Manifests,
  repository: GrantedRepository,
  subject: Digest,
): Promise<ManifestRow | undefined> {
  const found = await manifests.findByTag(repository, referrersTag(subject));
  return found?.mediaType === OCI_INDEX ? found : undefined;
}

function referrersTag(subject: Digest): Tag {
  return `${algorithmOf(subject)}-${hexOf(subject).slice(0, 64)}` as Tag;
}

/** The descriptors of an index, each digest once. */
function entriesOf(listed: unknown): ReferrerDescriptor[] {
  const all = Array.isArray(listed) ? (listed as readonly Partial<ReferrerDescriptor>[]) : [];
  const named = all.filter((entry): entry is ReferrerDescriptor => typeof entry?.digest === "string" && isDigest(entry.digest));
  return [...new Map(named.map((entry) => [entry.digest, entry])).values()];
}
