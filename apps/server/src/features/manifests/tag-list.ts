// One page of a repository's tags: in an order, of those that are wanted. Not here: the statements (tag-list-store.ts).
import { DEFAULT_PAGE_SIZE } from "@berth/api/limits";
import type { TagView } from "@berth/api/manifests";
import { RegistryError } from "@berth/oci/errors";
import type { Database } from "../../platform/database/database.ts";
import { listed, type Listed, type PageRequest } from "../paging.ts";
import { describeManifest } from "./describe-manifest.ts";
import { EXAMINED, MAX_LOOKS } from "./manifest-store.ts";
import {
  BEHIND,
  findTagRows,
  type TagOrder,
  type TagPlace,
  type TagRow,
  type TagSort,
  type WalkedTag,
  walkTags,
} from "./tag-list-store.ts";

/** Which tags, and in which order. */
export interface TagQuery extends PageRequest {
  readonly prefix?: string;
  readonly artifactType?: string;
  readonly mediaType?: string;
  readonly sort?: TagSort;
  readonly order?: TagOrder;
}

/** Before the least and behind the greatest of what tags are sorted by. */
const ENDS: Readonly<Record<TagSort, Readonly<Record<TagOrder, string | number>>>> = {
  name: { ascending: "", descending: "" },
  version: { ascending: "", descending: BEHIND },
  pushed: { ascending: 0, descending: Number.MAX_SAFE_INTEGER },
  size: { ascending: 0, descending: Number.MAX_SAFE_INTEGER },
};

/** Whether a list is one of all tags. */
export function isOfAll({ prefix = "", artifactType, mediaType }: TagQuery): boolean {
  return prefix === "" && artifactType === undefined && mediaType === undefined;
}

/** Reads the page. Errors: PAGE_INVALID. */
export async function listTagPage(database: Database, repositoryId: number, query: TagQuery): Promise<Listed<TagView>> {
  const { after, limit = DEFAULT_PAGE_SIZE, prefix = "", artifactType, mediaType, sort = "name" } = query;
  const order = query.order ?? (sort === "name" ? "ascending" : "descending");
  const isShown = (tag: WalkedTag): boolean =>
    tag.name.startsWith(prefix) &&
    (artifactType === undefined || tag.artifact_type === artifactType) &&
    (mediaType === undefined || tag.media_type === mediaType);
  const readsAll = artifactType === undefined && mediaType === undefined && (sort === "name" || prefix === "");
  const size = readsAll ? limit + 1 : EXAMINED;
  const shown: WalkedTag[] = [];
  let place: TagPlace =
    after === undefined ? { key: ENDS[sort][order], name: order === "ascending" ? "" : BEHIND } : readPlace(sort, after);
  let isAtEnd = false;
  for (let looks = 0; shown.length <= limit && !isAtEnd && looks < MAX_LOOKS; looks++) {
    const tags = await walkTags(database, repositoryId, { sort, order, prefix, place, limit: size });
    shown.push(...tags.filter(isShown));
    isAtEnd = tags.length < size;
    place = tags.at(-1) ?? place;
  }
  const toViews = async (tags: readonly WalkedTag[]): Promise<(TagView | undefined)[]> => {
    const names = tags.map(({ name }) => name);
    const rows = await findTagRows(database, repositoryId, names);
    return names.map((name) => {
      const row = rows.get(name);
      return row === undefined ? undefined : toTagView(row);
    });
  };
  const page = await listed(shown, limit, toViews, (tag) => writePlace(sort, tag));
  return page.next === null && !isAtEnd ? { ...page, next: writePlace(sort, place) } : page;
}

function writePlace(sort: TagSort, { key, name }: TagPlace): string {
  return sort === "name" ? name : `${key}/${name}`;
}

/** No tag has a slash. A key of a version may have any other character. */
function readPlace(sort: TagSort, after: string): TagPlace {
  if (sort === "name") return { key: "", name: after };
  const at = after.lastIndexOf("/");
  const key = after.slice(0, at);
  if (at === -1 || (sort !== "version" && !/^\d{1,16}$/.test(key)))
    throw new RegistryError("PAGE_INVALID", { detail: { after: after.slice(0, 100) } });
  return { key: sort === "version" ? key : Number(key), name: after.slice(at + 1) };
}

function toTagView(row: TagRow): TagView {
  return {
    name: row.name,
    digest: row.digest,
    mediaType: row.media_type,
    artifactType: row.artifact_type,
    sizeBytes: row.content_bytes,
    platforms: [...(row.bytes === null ? [] : describeManifest(row.bytes).platforms)],
    pushedAt: new Date(row.updated_at).toISOString(),
    pushedBy: row.pushed_by,
    pulledAt: row.pulled_at === null ? null : new Date(row.pulled_at).toISOString(),
  };
}
