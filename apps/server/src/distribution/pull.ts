// The pull: what a reader asks for, step by step. A pull writes nothing before it answers (but for a lease that is half gone).
// Not here: HTTP (http/v2), bytes (open-blob.ts).
import type { Digest } from "@berth/oci/digest";
import { RegistryError } from "@berth/oci/errors";
import type { Reference, RepositoryName } from "@berth/oci/reference";
import type { Authorizer } from "../access/authorize.ts";
import type { Caller, Grant } from "../access/caller.ts";
import type { BlobRow, Blobs } from "../content/blobs.ts";
import type { ManifestRow, Manifests } from "../content/manifests.ts";
import type { Repositories } from "../content/repositories.ts";
import type { Ports } from "./ports.ts";

/** Reads of a repository's content. */
export interface Pull {
  /** Errors: UNAUTHORIZED, NAME_UNKNOWN, MANIFEST_UNKNOWN, DENIED by a gate. */
  resolveManifest(caller: Caller, repository: RepositoryName, reference: Reference): Promise<ManifestRow>;
  /** Errors: UNAUTHORIZED, NAME_UNKNOWN, BLOB_UNKNOWN. */
  resolveBlob(caller: Caller, repository: RepositoryName, digest: Digest): Promise<BlobRow>;
}

/** What pulling needs. */
export interface PullParts {
  readonly authorizer: Authorizer;
  readonly repositories: Repositories;
  readonly manifests: Manifests;
  readonly blobs: Blobs;
  readonly ports: Ports;
}

/** Makes the pull operations. */
export function createPull({ authorizer, repositories, manifests, blobs, ports }: PullParts): Pull {
  /** Finds something by the repository's remembered id, and where it is not there, by the present one: the repository may be a new one. */
  async function findIn<T>(grant: Grant<"pull">, find: (repositoryId: number) => Promise<T | undefined>): Promise<T | undefined> {
    const recalled = await repositories.recallId(grant);
    if (recalled === undefined) return undefined;
    const found = await find(recalled);
    if (found !== undefined) return found;
    const present = await repositories.findId(grant);
    return present === undefined || present === recalled ? undefined : find(present);
  }

  const findManifest = (grant: Grant<"pull">, reference: Reference): Promise<ManifestRow | undefined> =>
    findIn(grant, (repositoryId) =>
      reference.kind === "tag"
        ? manifests.findByTag(grant, repositoryId, reference.tag)
        : manifests.findByDigest(grant, repositoryId, reference.digest),
    );

  const findBlob = (grant: Grant<"pull">, digest: Digest): Promise<BlobRow | undefined> =>
    findIn(grant, (repositoryId) => blobs.find(grant, repositoryId, digest));

  return {
    async resolveManifest(caller, repository, reference) {
      const grant = await authorizer.authorize(caller, "pull", repository);
      const manifest = (await findManifest(grant, reference)) ?? (await ports.upstream?.fetchManifest(grant, reference));
      if (manifest === undefined) {
        throw new RegistryError("MANIFEST_UNKNOWN", {
          detail: { repository, reference: reference.kind === "tag" ? reference.tag : reference.digest },
        });
      }
      await ports.gate?.verdict(grant, manifest);
      return manifest;
    },

    async resolveBlob(caller, repository, digest) {
      const grant = await authorizer.authorize(caller, "pull", repository);
      let blob = await findBlob(grant, digest);
      if (blob === undefined && (await ports.upstream?.fetchBlob(grant, digest)) === true) blob = await findBlob(grant, digest);
      if (blob === undefined) throw new RegistryError("BLOB_UNKNOWN", { detail: { repository, digest } });
      return blob;
    },
  };
}
