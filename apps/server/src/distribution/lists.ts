// Lists that clients page through: tags, the catalog, referrers. Every page is one bounded look-up behind a place, never a count or a sort
// of everything. Not here: HTTP links (http/v2).
import type { Digest } from "@berth/oci/digest";
import { RegistryError } from "@berth/oci/errors";
import type { RepositoryName, Tag } from "@berth/oci/reference";
import type { Authorizer } from "../access/authorize.ts";
import type { Caller } from "../access/caller.ts";
import { CATALOG_SCOPE, UnauthorizedError } from "../access/challenge.ts";
import type { ReadableProject } from "../access/readable-projects.ts";
import type { Manifests } from "../content/manifests.ts";
import type { ReferrerRow, Referrers } from "../content/referrers.ts";
import type { Repositories } from "../content/repositories.ts";
import type { Tags } from "../content/tags.ts";
import { findReferrersTag, listTagEntries } from "./referrers-tag.ts";

/** One page, and where the next begins; undefined at the end. */
export interface ListPage<T> {
  readonly items: readonly T[];
  readonly next: string | undefined;
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
  /** Errors: UNAUTHORIZED, NAME_UNKNOWN. */
  tags(caller: Caller, repository: RepositoryName, last: string, limit: number): Promise<ListPage<Tag>>;
  /** Repositories that the caller may read. Errors: UNAUTHORIZED, also for who shows neither credentials nor an anonymous token. */
  catalog(caller: Caller, last: string, limit: number): Promise<ListPage<string>>;
  /** Errors: UNAUTHORIZED, NAME_UNKNOWN, PAGE_INVALID. */
  referrers(
    caller: Caller,
    repository: RepositoryName,
    subject: Digest,
    page: { readonly artifactType: string | undefined; readonly last: string; readonly limit: number },
  ): Promise<ListPage<ReferrerDescriptor>>;
}

/** What listing needs. */
export interface ListParts {
  readonly authorizer: Authorizer;
  readonly repositories: Repositories;
  readonly manifests: Manifests;
  readonly tags: Tags;
  readonly referrers: Referrers;
}

/** Fewest names asked for at a time, where scopes may leave gaps. */
const MIN_NAMES_ASKED = 100;
/** Projects asked for at a time while a catalog page fills. */
const PROJECT_BATCH = 100;
/**
 * Most bytes of a page of referrers, whose annotations are of any size: a page ends where they are reached, but has one at least. As large as a
 * manifest may be, since some clients read the first page alone.
 */
const MAX_PAGE_BYTES = 4 * 1024 * 1024;
/** What a descriptor has besides its annotations, at most: two media types, a digest, names. */
const DESCRIPTOR_BYTES = 800;
/** Begins the places of pages that lie in the referrers tag; the digest behind which they begin follows. Others are ids. */
const TAG_PLACE = "tag";

/** Makes the lists. */
export function createLists({ authorizer, repositories, manifests, tags, referrers }: ListParts): Lists {
  return {
    async tags(caller, repository, last, limit) {
      const grant = await authorizer.authorize(caller, "pull", repository);
      const repositoryId = await repositories.findId(grant);
      if (repositoryId === undefined) throw new RegistryError("NAME_UNKNOWN", { detail: { repository } });
      if (limit === 0) return { items: [], next: undefined };
      return pageOf(await tags.list(grant, repositoryId, last, limit + 1), limit, (tag) => tag);
    },

    async catalog(caller, last, limit) {
      // Some clients show their credentials only when challenged: answered at once, they would take the public part for all that there is.
      if (caller.kind === "anonymous" && caller.access === undefined) throw new UnauthorizedError({ scope: CATALOG_SCOPE });
      if (limit === 0) return { items: [], next: undefined };
      // Projects lie in the order of their repositories' names, so that who reads all of them needs no list of projects.
      if (await authorizer.readsEverything(caller)) return pageOf(await repositories.listAllNames(last, limit + 1), limit, (name) => name);
      const names: string[] = [];
      // The project that `last` lies in comes first again, from behind `last`: its sort key is the beginning of its repositories' names.
      const slash = last.indexOf("/");
      let after = slash === -1 ? last : beforeKey(last.slice(0, slash + 1));
      for (;;) {
        const projects = await authorizer.listReadableProjects(caller, after, PROJECT_BATCH);
        for (const project of projects) {
          names.push(...(await listReadableNames(repositories, project, last, limit + 1 - names.length)));
          if (names.length > limit) return pageOf(names, limit, (name) => name);
        }
        const end = projects.at(-1);
        if (end === undefined || projects.length < PROJECT_BATCH) return pageOf(names, limit, (name) => name);
        after = end.sortKey;
      }
    },

    async referrers(caller, repository, subject, { artifactType, last, limit }) {
      const grant = await authorizer.authorize(caller, "pull", repository);
      const repositoryId = await repositories.findId(grant);
      if (repositoryId === undefined) return { items: [], next: undefined };
      const place = /^(?:(\d{0,15})|tag((?:sha256|sha512):[0-9a-f]{64,128})?)$/.exec(last);
      if (place === null) throw new RegistryError("PAGE_INVALID", { detail: { last: last.slice(0, 50) } });
      const [, id, digest = ""] = place;
      const items: ReferrerDescriptor[] = [];
      let left = MAX_PAGE_BYTES;
      if (id !== undefined) {
        const page = await referrers.list(grant, repositoryId, subject, { artifactType, startAfter: Number(id), limit, maxBytes: left });
        items.push(...page.rows.map(descriptorOf));
        if (page.hasMore) return { items, next: String(page.rows.at(-1)!.id) };
        left -= page.rows.reduce((sum, row) => sum + DESCRIPTOR_BYTES + (row.annotations?.length ?? 0), 0);
        // No room for what the tag may add, of which the next page tells.
        if (items.length === limit || left <= 0) {
          return { items, next: (await findReferrersTag(manifests, grant, repositoryId, subject)) && TAG_PLACE };
        }
      }
      const added = await listTagEntries({ manifests, referrers }, grant, repositoryId, subject, {
        artifactType,
        after: digest,
        limit: limit - items.length,
        maxBytes: left,
      });
      items.push(...added.items);
      return { items, next: added.next === undefined ? undefined : TAG_PLACE + added.next };
    },
  };
}

/** The first `wanted` repositories of a project after `last` that the caller may pull; a robot may see a part of them only. */
export async function listReadableNames(
  repositories: Repositories,
  { id, sortKey, reach }: ReadableProject,
  last: string,
  wanted: number,
): Promise<string[]> {
  const readable: string[] = [];
  // A robot of the registry may reach into many projects: only what lies in this one is asked for.
  const end = sortKey + LAST_CHARACTER;
  for (const range of reach.ranges) {
    if (range.through < last || range.through < sortKey || range.from > end) continue;
    let after = last < range.from ? beforeKey(range.from) : last;
    for (;;) {
      // A client that wants one name at a time must not have each of many that it may not see looked up by itself.
      const asked = Math.max(wanted - readable.length, MIN_NAMES_ASKED);
      const names = await repositories.listNames(id, after, range.through, asked);
      readable.push(...names.filter((name) => reach.mayPull(name as RepositoryName)));
      if (readable.length >= wanted) return readable.slice(0, wanted);
      if (names.length < asked) break;
      after = names.at(-1)!;
    }
  }
  return readable;
}

function pageOf<T>(rows: readonly T[], limit: number, place: (row: T) => string): ListPage<T> {
  const items = rows.slice(0, limit);
  return { items, next: rows.length > limit ? place(items.at(-1)!) : undefined };
}

/** Behind every name that begins as what it is put after: names are ASCII. */
export const LAST_CHARACTER = "\u{10ffff}";

/** A key just before `key`, so that a list "after" it begins with `key` itself. */
export function beforeKey(key: string): string {
  if (key === "") return "";
  return key.slice(0, -1) + String.fromCharCode(key.charCodeAt(key.length - 1) - 1) + LAST_CHARACTER;
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
