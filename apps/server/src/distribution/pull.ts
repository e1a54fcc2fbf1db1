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
  /**
   * At once where all that it takes is at hand: most requests are of this kind, and each promise on their way costs a hundredth of them.
   * Errors: UNAUTHORIZED, NAME_UNKNOWN, MANIFEST_UNKNOWN, DENIED by a gate.
   */
  resolveManifest(caller: Caller, repository: RepositoryName, reference: Reference): ManifestRow | Promise<ManifestRow>;
  /** At once as well. Errors: UNAUTHORIZED, NAME_UNKNOWN, BLOB_UNKNOWN. */
  resolveBlob(caller: Caller, repository: RepositoryName, digest: Digest): BlobRow | Promise<BlobRow>;
}

/** What pulling needs. */
export interface PullParts {
  readonly authorizer: Authorizer;
  readonly repositories: Repositories;
  readonly manifests: Manifests;
  readonly blobs: Blobs;
  readonly ports: Ports;
}

type Found<T> = T | undefined | Promise<T | undefined>;

/** Makes the pull operations. */
export function createPull({ authorizer, repositories, manifests, blobs, ports }: PullParts): Pull {
  /** Finds something by the repository's remembered id, and where it is not there, by the present one: the repository may be a new one. */
  function findIn<T>(grant: Grant<"pull">, find: (repositoryId: number) => Found<T>): Found<T> {
    const recalled = repositories.recallId(grant);
    if (recalled instanceof Promise) return recalled.then((id) => (id === undefined ? undefined : findAgain(grant, id, find(id), find)));
    const found = find(recalled);
    return found === undefined || found instanceof Promise ? findAgain(grant, recalled, found, find) : found;
  }

  async function findAgain<T>(
    grant: Grant<"pull">,
    recalled: number,
    finding: Found<T>,
    find: (repositoryId: number) => Found<T>,
  ): Promise<T | undefined> {
    const found = await finding;
    if (found !== undefined) return found;
    const present = await repositories.findId(grant);
    return present === undefined || present === recalled ? undefined : find(present);
  }

  const findManifest = (grant: Grant<"pull">, reference: Reference): Found<ManifestRow> =>
    findIn(grant, (repositoryId) =>
      reference.kind === "tag"
        ? manifests.findByTag(grant, repositoryId, reference.tag)
        : manifests.findByDigest(grant, repositoryId, reference.digest),
    );

  async function admit(grant: Grant<"pull">, reference: Reference, finding: Found<ManifestRow>): Promise<ManifestRow> {
    const manifest = (await finding) ?? (await ports.upstream?.fetchManifest(grant, reference));
    if (manifest === undefined) {
      throw new RegistryError("MANIFEST_UNKNOWN", {
        detail: { repository: grant.repository, reference: reference.kind === "tag" ? reference.tag : reference.digest },
      });
    }
    await ports.gate?.verdict(grant, manifest);
    return manifest;
  }

  async function fetchBlob(grant: Grant<"pull">, digest: Digest, finding: Found<BlobRow>): Promise<BlobRow> {
    let blob = await finding;
    if (blob === undefined && (await ports.upstream?.fetchBlob(grant, digest)) === true) blob = await findBlob(grant, digest);
    if (blob === undefined) throw new RegistryError("BLOB_UNKNOWN", { detail: { repository: grant.repository, digest } });
    return blob;
  }

  const findBlob = (grant: Grant<"pull">, digest: Digest): Found<BlobRow> =>
    findIn(grant, (repositoryId) => blobs.find(grant, repositoryId, digest));

  return {
    resolveManifest(caller, repository, reference) {
      const grant = authorizer.authorize(caller, "pull", repository);
      if (grant instanceof Promise) return grant.then((given) => admit(given, reference, findManifest(given, reference)));
      const found = findManifest(grant, reference);
      const isAtHand = found !== undefined && !(found instanceof Promise) && ports.gate === undefined;
      return isAtHand ? found : admit(grant, reference, found);
    },

    resolveBlob(caller, repository, digest) {
      const grant = authorizer.authorize(caller, "pull", repository);
      if (grant instanceof Promise) return grant.then((given) => fetchBlob(given, digest, findBlob(given, digest)));
      const found = findBlob(grant, digest);
      return found === undefined || found instanceof Promise ? fetchBlob(grant, digest, found) : found;
    },
  };
}
