// The pull, step by step. A pull writes nothing before it answers (except a lease that is half gone, and content that comes from an
// upstream).
// Not here: HTTP (http/v2), bytes (open-blob.ts).
import type { Digest } from "@berth/oci/digest";
import { RegistryError } from "@berth/oci/errors";
import type { Reference, RepositoryName } from "@berth/oci/reference";
import type { Authorizer } from "../access/authorize.ts";
import type { Caller, Grant } from "../access/caller.ts";
import type { BlobRow, Blobs } from "../content/blobs.ts";
import type { ManifestRow, Manifests } from "../content/manifests.ts";
import type { GrantedRepository, Repositories } from "../content/repositories.ts";
import type { Gatekeeper, Warnings } from "./gatekeeper.ts";
import type { BlobReader } from "./open-blob.ts";
import type { PullThrough, ThroughManifest } from "./pull-through.ts";
import type { Subject } from "./upstream-questions.ts";

/** Reads of a repository's content. */
export interface Pull {
  /**
   * Synchronous if everything is cached: most requests are of this kind, and each promise would cost a hundredth of them.
   * Errors: UNAUTHORIZED, NAME_UNKNOWN, MANIFEST_UNKNOWN, DENIED by a gate, UNAVAILABLE if a gate cannot decide; those of upstreams
   * (pull-through.ts).
   */
  resolveManifest(caller: Caller, repository: RepositoryName, reference: Reference): PulledManifest | Promise<PulledManifest>;
  /**
   * Synchronous as well. `isHead`: no bytes of it are served. Errors: UNAUTHORIZED, NAME_UNKNOWN, BLOB_UNKNOWN, DENIED by a gate,
   * UNAVAILABLE if a gate cannot decide; those of upstreams.
   */
  resolveBlob(caller: Caller, repository: RepositoryName, digest: Digest, isHead?: boolean): PulledBlob | Promise<PulledBlob>;
}

/** A manifest that may be pulled, and what is said beside it. */
export type PulledManifest = ManifestRow & Warned & { /** Set where it is not stored: it has no id. */ readonly bytes?: Uint8Array };
/** The same of a blob. */
export type PulledBlob = BlobRow & Warned & { /** Set where it is still coming: what it is read from. */ readonly source?: BlobReader };

/** Warnings for served content. */
interface Warned {
  readonly warnings?: Warnings;
}

/** What pulling needs. */
export interface PullParts {
  readonly authorizer: Authorizer;
  readonly repositories: Repositories;
  readonly manifests: Manifests;
  readonly blobs: Blobs;
  /** The ports that are asked for projects with traits; a missing port is not asked. */
  readonly ports: PullPorts;
}

/** The ports of reading. */
export interface PullPorts {
  readonly gatekeeper?: Gatekeeper | undefined;
  readonly pullThrough?: PullThrough | undefined;
}

type Found<T> = T | undefined | Promise<T | undefined>;

/** A blob, and the repository in which it was found. */
interface FoundBlob {
  readonly held: GrantedRepository<"pull">;
  readonly blob: BlobRow;
}

/** Creates the pull operations. */
export function createPull({ authorizer, repositories, manifests, blobs, ports }: PullParts): Pull {
  const { gatekeeper, pullThrough } = ports;

  /** Finds something in the cached repository and, if it is not there, in the present one: the repository may be a new one. */
  function findIn<T>(grant: Grant<"pull">, find: (held: GrantedRepository<"pull">) => Found<T>): Found<T> {
    const recalled = repositories.recall(grant);
    if (recalled instanceof Promise) return recalled.then((held) => (held === undefined ? undefined : findAgain(held, find(held), find)));
    const found = find(recalled);
    return found === undefined || found instanceof Promise ? findAgain(recalled, found, find) : found;
  }

  async function findAgain<T>(
    recalled: GrantedRepository<"pull">,
    finding: Found<T>,
    find: (held: GrantedRepository<"pull">) => Found<T>,
  ): Promise<T | undefined> {
    const found = await finding;
    if (found !== undefined) return found;
    const present = await repositories.find(recalled.grant);
    return present === undefined || present.id === recalled.id ? undefined : find(present);
  }

  const findManifest = (grant: Grant<"pull">, reference: Reference): Found<ManifestRow> =>
    findIn(grant, (held) =>
      reference.kind === "tag" ? manifests.findByTag(held, reference.tag) : manifests.findByDigest(held, reference.digest),
    );

  const findBlob = (grant: Grant<"pull">, digest: Digest): Found<BlobRow> => findIn(grant, (held) => blobs.find(held, digest));

  function existingManifest(grant: Grant<"pull">, reference: Reference, found: ManifestRow | undefined): ManifestRow {
    if (found !== undefined) return found;
    throw new RegistryError("MANIFEST_UNKNOWN", {
      detail: { repository: grant.repository, reference: reference.kind === "tag" ? reference.tag : reference.digest },
    });
  }

  function existingBlob<T>(grant: Grant<"pull">, digest: Digest, found: T | undefined): T {
    if (found !== undefined) return found;
    throw new RegistryError("BLOB_UNKNOWN", { detail: { repository: grant.repository, digest } });
  }

  function readManifest(grant: Grant<"pull">, reference: Reference): PulledManifest | Promise<PulledManifest> {
    const found = findManifest(grant, reference);
    if (grant.traits !== undefined) return admitManifest(grant, reference, found);
    if (found !== undefined && !(found instanceof Promise)) return found;
    return found === undefined ? existingManifest(grant, reference, found) : found.then((row) => existingManifest(grant, reference, row));
  }

  function readBlob(caller: Caller, grant: Grant<"pull">, digest: Digest, isHead: boolean): PulledBlob | Promise<PulledBlob> {
    if (grant.traits !== undefined) return admitBlob(caller, grant, digest, isHead);
    const found = findBlob(grant, digest);
    if (found !== undefined && !(found instanceof Promise)) return found;
    return found === undefined ? existingBlob<BlobRow>(grant, digest, found) : found.then((row) => existingBlob(grant, digest, row));
  }

  // From here on: projects with traits that may forbid it, or bring it.

  function admitManifest(
    grant: Grant<"pull">,
    reference: Reference,
    finding: Found<ManifestRow>,
  ): PulledManifest | Promise<PulledManifest> {
    if (finding instanceof Promise) return finding.then((found) => admitManifest(grant, reference, found));
    const subject = pullThrough?.subjectOf(grant);
    if (subject === undefined) return judgeManifest(grant, reference, finding && { manifest: finding });
    const through = pullThrough!.manifest(subject, grant, reference, finding);
    return through instanceof Promise
      ? through.then((came) => judgeManifest(grant, reference, came))
      : judgeManifest(grant, reference, through);
  }

  /** The gates' answer on stored content, and on content that has just come. */
  function judgeManifest(
    grant: Grant<"pull">,
    reference: Reference,
    through: ThroughManifest | undefined,
  ): PulledManifest | Promise<PulledManifest> {
    const manifest = existingManifest(grant, reference, through?.manifest);
    const unstored = through?.unstored;
    if (unstored !== undefined) {
      // Gates query the database about it.
      if (gatekeeper?.concerns(grant) === true) {
        throw new RegistryError("UNAVAILABLE", {
          message: "what came could not be stored, so that no policy can decide of it",
          cause: unstored.error,
        });
      }
      return { ...withWarnings(manifest, through?.warnings), bytes: unstored.bytes };
    }
    const warnings = gatekeeper?.admitManifest(grant, reference, manifest);
    const both = (given: Warnings): PulledManifest => withWarnings(manifest, joined(through?.warnings, given));
    return warnings instanceof Promise ? warnings.then(both) : both(warnings);
  }

  async function admitBlob(caller: Caller, grant: Grant<"pull">, digest: Digest, isHead: boolean): Promise<PulledBlob> {
    const found = await findIn<FoundBlob>(grant, (held) => {
      const finding = blobs.find(held, digest);
      const inRepository = (blob: BlobRow | undefined): FoundBlob | undefined => blob && { held, blob };
      return finding instanceof Promise ? finding.then(inRepository) : inRepository(finding);
    });
    if (found === undefined) {
      const subject = pullThrough?.subjectOf(grant);
      if (subject !== undefined) return fetchBlob(subject, grant, digest, isHead);
    }
    const { held, blob } = existingBlob(grant, digest, found);
    try {
      return withWarnings(blob, await gatekeeper?.admitBlob(held, digest, "blob"));
    } catch (error) {
      // A client that pushes asks what it need not send: the image that fixes another shares most of its layers.
      if (isHead && isRefusal(error) && (await authorizer.allowed(caller, grant.repository)).has("push")) return blob;
      throw error;
    }
  }

  /** A missing blob. The gates decide first whether it may be served: nothing of it is fetched before. */
  async function fetchBlob(subject: Subject, grant: Grant<"pull">, digest: Digest, isHead: boolean): Promise<PulledBlob> {
    let warnings: Warnings;
    if (gatekeeper?.concerns(grant) === true) {
      // Without the repository there is no manifest that leads to it.
      const held = existingBlob(grant, digest, await repositories.find(grant));
      warnings = await gatekeeper.admitBlob(held, digest, "blob");
    }
    return withWarnings(existingBlob(grant, digest, await pullThrough!.blob(subject, grant, digest, isHead)), warnings);
  }

  return {
    resolveManifest(caller, repository, reference) {
      const grant = authorizer.authorize(caller, "pull", repository);
      return grant instanceof Promise ? grant.then((given) => readManifest(given, reference)) : readManifest(grant, reference);
    },

    resolveBlob(caller, repository, digest, isHead = false) {
      const grant = authorizer.authorize(caller, "pull", repository);
      if (grant instanceof Promise) return grant.then((given) => readBlob(caller, given, digest, isHead));
      return readBlob(caller, grant, digest, isHead);
    },
  };
}

function withWarnings<T extends object>(content: T, warnings: Warnings): T & Warned {
  return warnings === undefined ? content : { ...content, warnings };
}

function joined(one: Warnings, other: Warnings): Warnings {
  return one === undefined ? other : other === undefined ? one : [...one, ...other];
}

function isRefusal(error: unknown): boolean {
  return error instanceof RegistryError && error.code === "DENIED";
}
