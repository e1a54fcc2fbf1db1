// Makes a blob that the caller may read elsewhere part of another repository, without a byte moved. Not here: uploads, the fallback.
import { RegistryError } from "@berth/oci/errors";
import type { Digest } from "@berth/oci/digest";
import type { RepositoryName } from "@berth/oci/reference";
import type { Authorizer } from "../access/authorize.ts";
import type { Caller, Grant } from "../access/caller.ts";
import type { Blobs } from "../content/blobs.ts";
import type { Repositories } from "../content/repositories.ts";

/** Mounts blobs. */
export interface Mount {
  /** True when the blob is now part of the grant's repository. False, whatever the reason, when it has to be uploaded. */
  mount(caller: Caller, grant: Grant<"push">, digest: Digest, from: RepositoryName | undefined): Promise<boolean>;
}

/** What mounting needs. */
export interface MountParts {
  readonly authorizer: Authorizer;
  readonly repositories: Repositories;
  readonly blobs: Blobs;
}

/** Repositories that are tried when the client does not say from where: a base layer may be in a hundred thousand. */
const MAX_SOURCES = 50;

/** Makes the mount operation. */
export function createMount({ authorizer, repositories, blobs }: MountParts): Mount {
  async function mountFrom(caller: Caller, grant: Grant<"push">, digest: Digest, from: RepositoryName): Promise<boolean> {
    let source: Grant<"pull">;
    try {
      source = await authorizer.authorize(caller, "pull", from);
    } catch (error) {
      // Not being allowed to read the source is answered like its not having the blob: the client uploads.
      if (error instanceof RegistryError && error.status < 500) return false;
      throw error;
    }
    const sourceId = await repositories.findId(source);
    if (sourceId === undefined) return false;
    return blobs.mount(grant, await repositories.ensureId(grant), source, sourceId, digest);
  }

  return {
    async mount(caller, grant, digest, from) {
      if (from !== undefined) return mountFrom(caller, grant, digest, from);
      for (const name of await repositories.listHolding(digest, MAX_SOURCES)) {
        if (await mountFrom(caller, grant, digest, name as RepositoryName)) return true;
      }
      return false;
    },
  };
}
