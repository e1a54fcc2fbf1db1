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
  async function findManifest(grant: Grant<"pull">, reference: Reference): Promise<ManifestRow | undefined> {
    const repositoryId = await repositories.findId(grant);
    if (repositoryId === undefined) return undefined;
    return reference.kind === "tag"
      ? manifests.findByTag(grant, repositoryId, reference.tag)
      : manifests.findByDigest(grant, repositoryId, reference.digest);
  }

  async function findBlob(grant: Grant<"pull">, digest: Digest): Promise<BlobRow | undefined> {
    const repositoryId = await repositories.findId(grant);
    return repositoryId === undefined ? undefined : blobs.find(grant, repositoryId, digest);
  }

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
