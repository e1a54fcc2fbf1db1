// Makes a blob that the caller may read elsewhere part of another repository, without a byte moved. Not here: uploads, the fallback.
import type { Digest } from "@berth/oci/digest";
import type { RepositoryName } from "@berth/oci/reference";
import type { Authorizer } from "../access/authorize.ts";
import type { Caller, Grant } from "../access/caller.ts";
import { scopeOf, UnauthorizedError } from "../access/challenge.ts";
import type { Blobs } from "../content/blobs.ts";
import type { Repositories } from "../content/repositories.ts";

/** Mounts blobs. */
export interface Mount {
  /**
   * True when the blob is now part of the grant's repository. False, whatever the reason, when it has to be uploaded.
   * Errors: UNAUTHORIZED where the caller's account may read the source and its token does not say so: the challenge names both repositories.
   */
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
    if (!(await authorizer.allowed(caller, from)).has("pull")) {
      // The token is an upper bound. Where the account itself may read the source, a better token is worth a second request to the client;
      // where it may not, the source is answered like one that does not exist.
      if (!caller.access?.has(from) && (await authorizer.allowed({ ...caller, access: undefined }, from)).has("pull")) {
        throw new UnauthorizedError({
          scope: `${scopeOf("push", grant.repository)} ${scopeOf("pull", from)}`,
          reason: "insufficient_scope",
        });
      }
      return false;
    }
    const source = await authorizer.authorize(caller, "pull", from);
    const sourceId = await repositories.findId(source);
    if (sourceId === undefined) return false;
    return repositories.writing(grant, (repositoryId) => blobs.mount(grant, repositoryId, source, sourceId, digest));
  }

  return {
    async mount(caller, grant, digest, from) {
      if (from !== undefined) return mountFrom(caller, grant, digest, from);
      let unnamed: UnauthorizedError | undefined;
      for (const name of await repositories.listHolding(digest, MAX_SOURCES)) {
        try {
          if (await mountFrom(caller, grant, digest, name as RepositoryName)) return true;
        } catch (error) {
          // The token does not name this source; another may do.
          if (!(error instanceof UnauthorizedError)) throw error;
          unnamed ??= error;
        }
      }
      if (unnamed !== undefined) throw unnamed;
      return false;
    },
  };
}
