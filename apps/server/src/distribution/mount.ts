// Makes a blob that the caller may read elsewhere part of another repository, without moving a byte. Not here: uploads, the fallback.
import type { Digest } from "@berth/oci/digest";
import { RegistryError } from "@berth/oci/errors";
import { projectOf, type RepositoryName } from "@berth/oci/reference";
import type { Authorizer } from "../access/authorize.ts";
import type { Caller, Grant } from "../access/caller.ts";
import { scopeOf, UnauthorizedError } from "../access/challenge.ts";
import { WHOLE, type Reach, type ReadableProject } from "../access/readable-projects.ts";
import type { NameRange } from "../access/robot-scopes.ts";
import type { Blobs } from "../content/blobs.ts";
import type { GrantedRepository, Repositories } from "../content/repositories.ts";
import type { Gatekeeper } from "./gatekeeper.ts";
import { beforeKey, LAST_CHARACTER } from "./readable-names.ts";

/** Mounts blobs. */
export interface Mount {
  /**
   * Whether the blob is now part of the grant's repository; if not, for whatever reason, it has to be uploaded.
   * Errors: UNAUTHORIZED if the caller's account may read the source and its token does not name it: the challenge names both repositories.
   */
  mount(caller: Caller, grant: Grant<"push">, digest: Digest, from: RepositoryName | undefined): Promise<Mounted>;
}

/** The result of a mount. */
export interface Mounted {
  readonly isMounted: boolean;
  /** Why a gate of the source refuses it. */
  readonly warnings?: readonly string[];
}

/** What mounting needs. */
export interface MountParts {
  readonly authorizer: Authorizer;
  readonly repositories: Repositories;
  readonly blobs: Blobs;
  /** Undefined: nothing is refused. */
  readonly gatekeeper?: Gatekeeper | undefined;
  /** Called if a gate could not decide: the blob is uploaded then, so nobody else notices. */
  readonly onUndecided?: (error: unknown) => void;
}

/** Repositories that are tried if the client names no source: a base layer may be in a hundred thousand. */
const MAX_SOURCES = 50;
/** Readable projects that are searched then, besides the target's. */
const MAX_PROJECTS = 100;
/** Repositories that are checked in them, and in the target's project. Not finding an existing blob is right as well: it is uploaded then. */
const MAX_LOOKED = 500;
/** The same for robots, whose scopes reach into parts of projects: parts, and names of each. */
const MAX_PARTS = 10;
const MAX_NAMES_OF_PART = 100;

const NOT_MOUNTED: Mounted = { isMounted: false };

/** Creates the mount operation. */
export function createMount({ authorizer, repositories, blobs, gatekeeper, onUndecided }: MountParts): Mount {
  async function mountFrom(caller: Caller, grant: Grant<"push">, digest: Digest, from: RepositoryName): Promise<Mounted> {
    if (!(await authorizer.allowed(caller, from)).has("pull")) {
      // The token is an upper bound. If the account itself may read the source, a better token is worth the client's second request; if it
      // may not, the source is answered like one that does not exist.
      if (!caller.access?.has(from) && (await authorizer.allowed({ ...caller, access: undefined }, from)).has("pull")) {
        throw new UnauthorizedError({
          scope: `${scopeOf("push", grant.repository)} ${scopeOf("pull", from)}`,
          reason: "insufficient_scope",
        });
      }
      return NOT_MOUNTED;
    }
    const source = await sourceGrant(caller, from);
    if (source === undefined) return NOT_MOUNTED;
    const held = await repositories.find(source);
    if (held === undefined) return NOT_MOUNTED;
    if (source.traits !== undefined) {
      const refused = await refusalOf(held, digest);
      if (refused !== undefined) return { isMounted: false, warnings: [refused] };
    }
    return { isMounted: await repositories.writing(grant, (repository) => blobs.mount(repository, held, digest)) };
  }

  /** Why the source's gates refuse the blob: a caller who mounts it could pull it from the target. */
  async function refusalOf(source: GrantedRepository<"pull">, digest: Digest): Promise<string | undefined> {
    try {
      await gatekeeper?.admitBlob(source, digest, "mount");
      return undefined;
    } catch (error) {
      if (!(error instanceof RegistryError)) throw error;
      // An upload is the answer to both: a client with the bytes needs no permission, and one without does not get them.
      if (error.code !== "DENIED") onUndecided?.(error);
      return error.message;
    }
  }

  /** Undefined if the source has an unknown trait that may forbid it. */
  async function sourceGrant(caller: Caller, from: RepositoryName): Promise<Grant<"pull"> | undefined> {
    try {
      return await authorizer.authorize(caller, "pull", from);
    } catch (error) {
      if (error instanceof RegistryError && error.code === "PROJECT_NEWER") return undefined;
      throw error;
    }
  }

  /**
   * Repositories that have the blob, among those that the account may read. The search begins with these and not with the blob: neither its
   * time nor its outcome depends on what others have.
   */
  async function* findSources(caller: Caller, grant: Grant<"push">, digest: Digest): AsyncGenerator<RepositoryName, void, void> {
    // For what its token does not name, an account may request a better one.
    const account = { ...caller, access: undefined };
    if (await authorizer.readsEverything(account)) {
      yield* (await repositories.listHolding(digest, MAX_SOURCES)) as RepositoryName[];
      return;
    }
    // The target's project first: a base image's layers are most often there.
    const key = beforeKey(`${projectOf(grant.repository)}/`);
    const own = (await authorizer.listReadableProjects(account, key, 1)).filter((project) => project.id === grant.projectId);
    yield* await holdersIn(own, digest);
    const others = await authorizer.listReadableProjects(account, "", MAX_PROJECTS);
    yield* await holdersIn(
      others.filter((project) => project.id !== grant.projectId),
      digest,
    );
  }

  /** The same in some of the projects. The number of statements depends on the account's rights alone. */
  async function holdersIn(projects: readonly ReadableProject[], digest: Digest): Promise<RepositoryName[]> {
    const whole = projects.filter(({ reach }) => reach === WHOLE).map(({ id }) => id);
    const parts = projects.flatMap(({ id, sortKey, reach }) =>
      reach === WHOLE ? [] : partsOf(sortKey, reach).map((part) => ({ id, reach, part })),
    );
    const names: string[] = [];
    for (const { id, reach, part } of parts.slice(0, MAX_PARTS)) {
      const found = await repositories.listNames(id, beforeKey(part.from), part.through, MAX_NAMES_OF_PART);
      names.push(...found.filter((name) => reach.mayPull(name as RepositoryName)));
    }
    const holders = whole.length === 0 ? [] : await repositories.listHoldingIn(digest, whole, MAX_LOOKED, MAX_SOURCES);
    if (parts.length > 0) holders.push(...(await repositories.listHoldingAmong(digest, names, MAX_SOURCES)));
    return holders as RepositoryName[];
  }

  return {
    async mount(caller, grant, digest, from) {
      if (from !== undefined) return mountFrom(caller, grant, digest, from);
      let unnamed: UnauthorizedError | undefined;
      for await (const name of findSources(caller, grant, digest)) {
        try {
          const mounted = await mountFrom(caller, grant, digest, name);
          if (mounted.isMounted) return mounted;
        } catch (error) {
          // The token does not name this source, but may name another.
          if (!(error instanceof UnauthorizedError)) throw error;
          unnamed ??= error;
        }
      }
      if (unnamed !== undefined) throw unnamed;
      return NOT_MOUNTED;
    },
  };
}

/** The ranges of a project's names that may be pulled. */
function partsOf(sortKey: string, { ranges }: Reach): NameRange[] {
  return ranges.filter(({ from, through }) => through >= sortKey && from <= sortKey + LAST_CHARACTER);
}
