// Lists that clients page through: tags, the catalog, referrers. Every page takes a bounded number of look-ups after a position, and never
// counts or sorts everything. Not here: HTTP links (http/v2).
import type { Digest } from "@berth/oci/digest";
import { RegistryError } from "@berth/oci/errors";
import type { RepositoryName, Tag } from "@berth/oci/reference";
import type { Authorizer } from "../access/authorize.ts";
import type { Caller, Grant } from "../access/caller.ts";
import { CATALOG_SCOPE, UnauthorizedError } from "../access/challenge.ts";
import type { Manifests } from "../content/manifests.ts";
import { DESCRIPTOR_BYTES, type ReferrerRow, type Referrers } from "../content/referrers.ts";
import type { Repositories } from "../content/repositories.ts";
import type { Tags } from "../content/tags.ts";
import type { ListPlaces } from "./list-places.ts";
import { type Effort, effortOfRequest, listReadableNames } from "./readable-names.ts";
import { findReferrersTag, listTagEntries } from "./referrers-tag.ts";
import type { UpstreamLists } from "./upstream-lists.ts";

/** One page, and where the next begins; undefined at the end. */
export interface ListPage<T> {
  readonly items: readonly T[];
  readonly next: string | undefined;
  /** Warnings beside it. */
  readonly warnings?: readonly string[];
}

/** A descriptor as a referrers index holds it. */
export interface ReferrerDescriptor {
  readonly mediaType: string;
  readonly digest: Digest;
  readonly size: number;
  readonly artifactType?: string;
  readonly annotations?: Readonly<Record<string, string>>;
}

/** The lists. */
export interface Lists {
  /** Errors: UNAUTHORIZED, NAME_UNKNOWN; those of an upstream that cannot be asked where nothing of the repository is here. */
  tags(caller: Caller, repository: RepositoryName, last: string, limit: number): Promise<ListPage<Tag>>;
  /**
   * Repositories that the caller may read. A page may be short, or empty, and still not be the last. Errors: PAGE_INVALID; UNAUTHORIZED,
   * also for callers with neither credentials nor an anonymous token.
   */
  catalog(caller: Caller, last: string, limit: number): Promise<ListPage<string>>;
  /** Errors: UNAUTHORIZED, NAME_UNKNOWN, PAGE_INVALID. */
  referrers(caller: Caller, repository: RepositoryName, subject: Digest, page: ReferrersPage): Promise<ListPage<ReferrerDescriptor>>;
}

/** Which referrers. */
export interface ReferrersPage {
  readonly artifactType: string | undefined;
  readonly last: string;
  readonly limit: number;
}

/** What listing needs. */
export interface ListParts {
  readonly authorizer: Authorizer;
  readonly repositories: Repositories;
  readonly manifests: Manifests;
  readonly tags: Tags;
  readonly referrers: Referrers;
  readonly places: ListPlaces;
  /** Lists of the projects that mirror another registry. */
  readonly upstreamLists?: UpstreamLists | undefined;
  /** The bound of one request's work; `effortOfRequest` if it is not given. */
  readonly newEffort?: () => Effort;
}

/**
 * The most bytes of a page of referrers, whose annotations may have any size: a page ends when they are reached, but has at least one item.
 * Nearly as much as a manifest may have, because some clients read only the first page; and with the surrounding JSON not more, because
 * oras reads no longer answers.
 */
const MAX_PAGE_BYTES = 4 * 1024 * 1024 - 64 * 1024;
/** Begins the places of pages that lie in the referrers tag; the digest behind which they begin follows. Others are ids. */
const TAG_PLACE = "tag";

/** Creates the lists. */
export function createLists(parts: ListParts): Lists {
  const { authorizer, repositories, manifests, tags, referrers, places, upstreamLists, newEffort = effortOfRequest } = parts;

  async function storedTags(grant: Grant<"pull">, last: string, limit: number): Promise<ListPage<Tag>> {
    const found = await repositories.find(grant);
    if (found === undefined) throw new RegistryError("NAME_UNKNOWN", { detail: { repository: grant.repository } });
    if (limit === 0) return { items: [], next: undefined };
    return pageOf(await tags.list(found, last, limit + 1), limit, (tag) => tag);
  }

  async function storedReferrers(
    grant: Grant<"pull">,
    subject: Digest,
    { artifactType, last, limit }: ReferrersPage,
  ): Promise<ListPage<ReferrerDescriptor>> {
    const found = await repositories.find(grant);
    if (found === undefined) return { items: [], next: undefined };
    const place = /^(?:(\d{0,15})|tag((?:sha256|sha512):[0-9a-f]{64,128})?)$/.exec(last);
    if (place === null) throw new RegistryError("PAGE_INVALID", { detail: { last: last.slice(0, 50) } });
    const [, id, digest = ""] = place;
    const items: ReferrerDescriptor[] = [];
    let left = MAX_PAGE_BYTES;
    if (id !== undefined) {
      const page = await referrers.list(found, subject, { artifactType, startAfter: Number(id), limit, maxBytes: left });
      items.push(...page.rows.map(descriptorOf));
      if (page.hasMore) return { items, next: String(page.rows.at(-1)!.id) };
      left -= page.rows.reduce((sum, row) => sum + DESCRIPTOR_BYTES + Buffer.byteLength(row.annotations ?? ""), 0);
      // There is no room for the tag's entries, which the next page has.
      if (items.length === limit || left <= 0) {
        return { items, next: (await findReferrersTag(manifests, found, subject)) && TAG_PLACE };
      }
    }
    const added = await listTagEntries({ manifests, referrers }, found, subject, {
      artifactType,
      after: digest,
      limit: limit - items.length,
      maxBytes: left,
    });
    items.push(...added.items);
    return { items, next: added.next === undefined ? undefined : TAG_PLACE + added.next };
  }

  return {
    async tags(caller, repository, last, limit) {
      const grant = await authorizer.authorize(caller, "pull", repository);
      const stored = (): Promise<ListPage<Tag>> => storedTags(grant, last, limit);
      const ofUpstream = limit === 0 ? undefined : upstreamLists?.tags(grant, { last, limit }, stored);
      return ofUpstream ?? stored();
    },

    async catalog(caller, last, limit) {
      // Some clients authenticate only when challenged: answered at once, they would take the public part for everything.
      if (caller.kind === "anonymous" && caller.access === undefined) throw new UnauthorizedError({ scope: CATALOG_SCOPE });
      if (limit === 0) return { items: [], next: undefined };
      // Projects have the order of their repositories' names, so a caller who reads all of them needs no list of projects.
      if (await authorizer.readsEverything(caller)) return pageOf(await repositories.listAllNames(last, limit + 1), limit, (name) => name);
      const { names, stoppedAt } = await listReadableNames(parts, caller, places.reveal(last), limit + 1, newEffort());
      return stoppedAt === undefined ? pageOf(names, limit, (name) => name) : { items: names, next: places.hide(stoppedAt) };
    },

    async referrers(caller, repository, subject, page) {
      const grant = await authorizer.authorize(caller, "pull", repository);
      const stored = (): Promise<ListPage<ReferrerDescriptor>> => storedReferrers(grant, subject, page);
      return upstreamLists?.referrers(grant, subject, page, stored) ?? stored();
    },
  };
}

function pageOf<T>(rows: readonly T[], limit: number, place: (row: T) => string): ListPage<T> {
  const items = rows.slice(0, limit);
  return { items, next: rows.length > limit ? place(items.at(-1)!) : undefined };
}

function descriptorOf(row: ReferrerRow): ReferrerDescriptor {
  return {
    mediaType: row.mediaType,
    digest: row.digest,
    size: row.sizeBytes,
    ...(row.artifactType === undefined ? {} : { artifactType: row.artifactType }),
    ...(row.annotations === undefined ? {} : { annotations: JSON.parse(row.annotations) as Record<string, string> }),
  };
}
