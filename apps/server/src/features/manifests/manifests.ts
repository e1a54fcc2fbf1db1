// Tags and manifests of a repository: lists of them, one in detail, the history of a tag, and taking them away.
// Not here: rows (manifest-store.ts), what a manifest's bytes say (describe-manifest.ts), pulling and pushing (distribution/).
import { ApiError } from "@berth/api/errors";
import { DEFAULT_PAGE_SIZE } from "@berth/api/limits";
import type { ManifestSummaryView, ManifestView, TagChangeView, TagView } from "@berth/api/manifests";
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
  listHistoryRows,
  listManifestRows,
  listNames,
  listPresent,
  listReferrerRows,
  listTagRows,
  type ManifestRow,
  type TagRow,
} from "./manifest-store.ts";

/** What the rules need. */
export interface RepositoryManifestsParts {
  readonly database: Database;
  readonly repositories: Pick<Repositories, "find">;
  readonly pull: Pick<Pull, "resolveBlob">;
  readonly reader: BlobReader;
  readonly push: Pick<Push, "deleteManifest">;
}

/** Which tags. */
export interface TagQuery extends PageRequest {
  readonly prefix?: string;
}

/** Which manifests. */
export interface ManifestQuery extends PageRequest {
  readonly isTagged?: boolean;
  readonly artifactType?: string;
}

/** The rules, for whoever has the proof that he may. Their errors are those of the operations of the same name. */
export interface RepositoryManifests {
  listTags(grant: Grant<"pull">, query: TagQuery): Promise<Listed<TagView>>;
  listTagHistory(grant: Grant<"pull">, tag: string, page: PageRequest): Promise<Listed<TagChangeView>>;
  list(grant: Grant<"pull">, query: ManifestQuery): Promise<Listed<ManifestSummaryView>>;
  get(caller: Caller, grant: Grant<"pull">, reference: string): Promise<ManifestView>;
  delete(caller: Caller, grant: Grant<"delete">, reference: Reference): Promise<void>;
}

/** Tags that a list shows of each manifest, and that one manifest shows. */
const LISTED_TAGS = 10;
const SHOWN_TAGS = 100;
const SHOWN_REFERRERS = 100;
/** Looks of one request for what it wants of many manifests: it ends within some 100 ms, and its page may be short and lead on. */
const MAX_LOOKS = 10;
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
      subject: row.subject_digest,
      tags: row.is_tagged === 1 ? await listNames(database, row.id, LISTED_TAGS) : [],
    };
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
      for await (const piece of reader.read(blob, 0, blob.sizeBytes - 1)) pieces.push(Buffer.from(piece));
      return Buffer.concat(pieces);
    } catch (error) {
      // What the config says is a part of the answer that may be missing: what else is known is worth giving.
      if (error instanceof RegistryError && NO_CONFIG.has(error.code)) return undefined;
      throw error;
    }
  }

  return {
    async listTags(grant, { after = "", limit = DEFAULT_PAGE_SIZE, prefix = "" }) {
      const found = await listTagRows(database, await idOf(grant), { after, prefix, limit: limit + 1 });
      return listed(
        found,
        limit,
        (rows) => rows.map(toTagView),
        ({ name }) => name,
      );
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
    async list(grant, { after = "", limit = DEFAULT_PAGE_SIZE, isTagged, artifactType }) {
      const isShown = (row: ManifestRow): boolean =>
        (isTagged === undefined || (row.is_tagged === 1) === isTagged) &&
        (artifactType === undefined || row.artifact_type === artifactType);
      const size = isTagged === undefined && artifactType === undefined ? limit + 1 : EXAMINED;
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
      return page.next === null && !isAtEnd ? { ...page, next: place } : page;
    },
    async delete(caller, { repository }, reference) {
      try {
        await push.deleteManifest(caller, repository, reference);
      } catch (error) {
        if (error instanceof RegistryError && error.code === "NAME_UNKNOWN") throw new ApiError("REPOSITORY_UNKNOWN");
        throw error;
      }
    },
    async get(caller, grant, reference) {
      const row = await findContent(database, grant.repository, isDigest(reference) ? { digest: reference } : { tag: reference });
      if (row === undefined)
        throw new RegistryError("MANIFEST_UNKNOWN", { detail: { repository: grant.repository, reference: reference.slice(0, 200) } });
      const described = describeManifest(row.bytes);
      const isImage = described.config !== null && described.children.length === 0;
      const [present, tags, referrers, config] = await Promise.all([
        listPresent(
          database,
          row.repository_id,
          described.children.map(({ digest }) => digest),
        ),
        listNames(database, row.id, SHOWN_TAGS),
        listReferrerRows(database, row.repository_id, row.digest, SHOWN_REFERRERS),
        isImage ? readConfig(caller, grant, described.config) : undefined,
      ]);
      return {
        digest: row.digest,
        mediaType: row.media_type,
        artifactType: row.artifact_type,
        sizeBytes: row.size_bytes,
        contentSizeBytes: row.size_bytes + described.namedBytes,
        pushedAt: timeOf(row.created_at),
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

function toTagView({ name, digest, media_type, artifact_type, size_bytes, bytes, updated_at, pushed_by }: TagRow): TagView {
  const described = bytes === null ? undefined : describeManifest(bytes);
  return {
    name,
    digest,
    mediaType: media_type,
    artifactType: artifact_type,
    sizeBytes: described === undefined ? null : size_bytes + described.namedBytes,
    platforms: [...(described?.platforms ?? [])],
    pushedAt: timeOf(updated_at),
    pushedBy: pushed_by,
  };
}

function readId(after: string): number {
  const id = /^[1-9]\d{0,15}$/.test(after) ? Number(after) : Number.NaN;
  if (!Number.isSafeInteger(id)) throw new RegistryError("PAGE_INVALID", { detail: { after: after.slice(0, 100) } });
  return id;
}

const timeOf = (at: number): string => new Date(at).toISOString();
