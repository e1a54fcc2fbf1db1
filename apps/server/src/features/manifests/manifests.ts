// Tags and manifests of a repository: lists of them, one in detail, the history of a tag, and taking them away.
// Not here: rows (manifest-store.ts), what a manifest's bytes say (describe-manifest.ts), pulling and pushing (distribution/).
import { ApiError } from "@berth/api/errors";
import { DEFAULT_PAGE_SIZE } from "@berth/api/limits";
import type { ManifestContentView, ManifestSummaryView, ManifestView, TagChangeView, TagView } from "@berth/api/manifests";
import { type Digest, isDigest } from "@berth/oci/digest";
import { RegistryError } from "@berth/oci/errors";
import type { Reference } from "@berth/oci/reference";
import type { Caller, Grant } from "../../access/caller.ts";
import type { Repositories } from "../../content/repositories.ts";
import type { BlobReader } from "../../distribution/open-blob.ts";
import type { Pull } from "../../distribution/pull.ts";
import type { Push } from "../../distribution/push.ts";
import type { Database } from "../../platform/database/database.ts";
import { listed, type Listed, type PageRequest } from "../paging.ts";
import { describeManifest, platformOfConfig } from "./describe-manifest.ts";
import {
  EXAMINED,
  findContent,
  findCounts,
  listHistoryRows,
  listManifestRows,
  listNames,
  listPresent,
  listReferrerRows,
  type ManifestContentRow,
  type ManifestRow,
  MAX_LOOKS,
  sumUnique,
} from "./manifest-store.ts";
import { isOfAll, listTagPage, type TagQuery } from "./tag-list.ts";

/** What the rules need. */
export interface RepositoryManifestsParts {
  readonly database: Database;
  readonly repositories: Pick<Repositories, "find">;
  readonly pull: Pick<Pull, "resolveBlob">;
  readonly reader: BlobReader;
  readonly push: Pick<Push, "deleteManifest">;
}

/** Which manifests. */
export interface ManifestQuery extends PageRequest {
  readonly isTagged?: boolean;
  readonly artifactType?: string;
  readonly mediaType?: string;
}
/** A page of a list whose items are counted. */
type Counted<T> = Listed<T> & { total: number | null };

/** The rules, for whoever has the proof that he may. Their errors are those of the operations of the same name. */
export interface RepositoryManifests {
  listTags(grant: Grant<"pull">, query: TagQuery): Promise<Counted<TagView>>;
  listTagHistory(grant: Grant<"pull">, tag: string, page: PageRequest): Promise<Listed<TagChangeView>>;
  list(grant: Grant<"pull">, query: ManifestQuery): Promise<Counted<ManifestSummaryView>>;
  get(caller: Caller, grant: Grant<"pull">, reference: string): Promise<ManifestView>;
  getContent(grant: Grant<"pull">, reference: string): Promise<ManifestContentView>;
  delete(caller: Caller, grant: Grant<"delete">, reference: Reference): Promise<void>;
}

/** Tags that a list shows of each manifest, and that one manifest shows. */
const LISTED_TAGS = 10;
const SHOWN_TAGS = 100;
const SHOWN_REFERRERS = 100;
/** A config tells its platform in its first fields; none that people made is larger. */
const MAX_CONFIG_BYTES = 1024 * 1024;
/** Errors after which a manifest is shown without its platform: sparse, damaged, refused by a policy, or in a store that is away. */
const NO_CONFIG: ReadonlySet<string> = new Set(["BLOB_UNKNOWN", "BLOB_DAMAGED", "DENIED", "UNAVAILABLE"]);

/** Makes the rules. */
export function createRepositoryManifests({ database, repositories, pull, reader, push }: RepositoryManifestsParts): RepositoryManifests {
  async function idOf(grant: Grant<"pull">): Promise<number> {
    const repository = await repositories.find(grant);
    if (repository === undefined) throw new ApiError("REPOSITORY_UNKNOWN");
    return repository.id;
  }

  async function toSummary(row: ManifestRow): Promise<ManifestSummaryView> {
    return {
      digest: row.digest,
      mediaType: row.media_type,
      artifactType: row.artifact_type,
      sizeBytes: row.size_bytes,
      pushedAt: timeOf(row.created_at),
      pulledAt: timeOrNull(row.pulled_at),
      subject: row.subject_digest,
      tags: row.is_tagged === 1 ? await listNames(database, row.id, LISTED_TAGS) : [],
    };
  }

  async function getRow({ repository }: Grant<"pull">, reference: string): Promise<ManifestContentRow> {
    const row = await findContent(database, repository, isDigest(reference) ? { digest: reference } : { tag: reference });
    if (row === undefined) throw new RegistryError("MANIFEST_UNKNOWN", { detail: { repository, reference: reference.slice(0, 200) } });
    return row;
  }

  /** The bytes of an image's config, as far as the caller may have them; undefined where it is missing, too large, or refused. */
  async function readConfig(
    caller: Caller,
    { repository }: Grant<"pull">,
    { digest, sizeBytes }: { readonly digest: string; readonly sizeBytes: number },
  ): Promise<Uint8Array | undefined> {
    if (sizeBytes > MAX_CONFIG_BYTES) return undefined;
    try {
      const blob = await pull.resolveBlob(caller, repository, digest as Digest);
      const pieces: Uint8Array[] = [];
      // A piece is valid until the next one is asked for.
      for await (const piece of (blob.source ?? reader).read(blob, 0, blob.sizeBytes - 1)) pieces.push(Buffer.from(piece));
      return Buffer.concat(pieces);
    } catch (error) {
      // What the config says is a part of the answer that may be missing: what else is known is worth giving.
      if (error instanceof RegistryError && NO_CONFIG.has(error.code)) return undefined;
      throw error;
    }
  }

  return {
    async listTags(grant, query) {
      const repositoryId = await idOf(grant);
      const page = await listTagPage(database, repositoryId, query);
      return { ...page, total: isOfAll(query) ? (await findCounts(database, repositoryId)).tags : null };
    },
    async listTagHistory(grant, tag, { after, limit = DEFAULT_PAGE_SIZE }) {
      const before = after === undefined ? Number.MAX_SAFE_INTEGER : readId(after);
      const found = await listHistoryRows(database, await idOf(grant), { tag, before, limit: limit + 1 });
      return listed(
        found,
        limit,
        (rows) => rows.map(({ id, digest, at, by }) => ({ id: String(id), digest, at: timeOf(at), by })),
        ({ id }) => String(id),
      );
    },
    async list(grant, { after = "", limit = DEFAULT_PAGE_SIZE, isTagged, artifactType, mediaType }) {
      const isShown = (row: ManifestRow): boolean =>
        (isTagged === undefined || (row.is_tagged === 1) === isTagged) &&
        (artifactType === undefined || row.artifact_type === artifactType) &&
        (mediaType === undefined || row.media_type === mediaType);
      const listsAll = isTagged === undefined && artifactType === undefined && mediaType === undefined;
      const size = listsAll ? limit + 1 : EXAMINED;
      const repositoryId = await idOf(grant);
      const shown: ManifestRow[] = [];
      let place = after;
      let isAtEnd = false;
      for (let looks = 0; shown.length <= limit && !isAtEnd && looks < MAX_LOOKS; looks++) {
        const rows = await listManifestRows(database, repositoryId, { after: place, limit: size });
        shown.push(...rows.filter(isShown));
        isAtEnd = rows.length < size;
        place = rows.at(-1)?.digest ?? place;
      }
      const page = await listed(
        shown,
        limit,
        (rows) => Promise.all(rows.map(toSummary)),
        ({ digest }) => digest,
      );
      const total = listsAll ? (await findCounts(database, repositoryId)).manifests : null;
      return { ...page, next: page.next === null && !isAtEnd ? place : page.next, total };
    },
    async delete(caller, { repository }, reference) {
      try {
        await push.deleteManifest(caller, repository, reference);
      } catch (error) {
        if (error instanceof RegistryError && error.code === "NAME_UNKNOWN") throw new ApiError("REPOSITORY_UNKNOWN");
        throw error;
      }
    },
    async getContent(grant, reference) {
      const { digest, media_type: mediaType, bytes } = await getRow(grant, reference);
      // Every manifest was UTF-8 when it was pushed.
      return { digest, mediaType, content: Buffer.from(bytes).toString("utf8") };
    },
    async get(caller, grant, reference) {
      const row = await getRow(grant, reference);
      const described = describeManifest(row.bytes);
      const isImage = described.config !== null && described.children.length === 0;
      const [present, tags, referrers, unique, config] = await Promise.all([
        listPresent(
          database,
          row.repository_id,
          described.children.map(({ digest }) => digest),
        ),
        listNames(database, row.id, SHOWN_TAGS),
        listReferrerRows(database, row.repository_id, row.digest, SHOWN_REFERRERS),
        sumUnique(database, row.id),
        isImage ? readConfig(caller, grant, described.config) : undefined,
      ]);
      return {
        digest: row.digest,
        mediaType: row.media_type,
        artifactType: row.artifact_type,
        sizeBytes: row.size_bytes,
        contentSizeBytes: row.size_bytes + described.namedBytes,
        uniqueSizeBytes: unique === null ? null : row.size_bytes + unique,
        pushedAt: timeOf(row.created_at),
        pulledAt: timeOrNull(row.pulled_at),
        subject: described.subject,
        annotations: [...described.annotations],
        platform: config === undefined ? null : platformOfConfig(config),
        config: described.config,
        layers: [...described.layers],
        children: described.children.map((child) => ({ ...child, isPresent: present.has(child.digest) })),
        leftOut: described.leftOut,
        tags,
        referrers: referrers.map(({ digest, media_type, artifact_type, size_bytes }) => ({
          digest,
          mediaType: media_type,
          artifactType: artifact_type,
          sizeBytes: size_bytes,
        })),
      };
    },
  };
}

function readId(after: string): number {
  const id = /^[1-9]\d{0,15}$/.test(after) ? Number(after) : Number.NaN;
  if (!Number.isSafeInteger(id)) throw new RegistryError("PAGE_INVALID", { detail: { after: after.slice(0, 100) } });
  return id;
}

const timeOrNull = (at: number | null): string | null => (at === null ? null : timeOf(at));
const timeOf = (at: number): string => new Date(at).toISOString();
