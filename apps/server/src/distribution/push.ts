// The push of a manifest, and deletions: each is one transaction that needs a grant. Not here: uploads of blobs (upload-session.ts).
import { digestOf, algorithmOf, type Digest, type DigestAlgorithm } from "@berth/oci/digest";
import { RegistryError } from "@berth/oci/errors";
import { parseManifest } from "@berth/oci/manifest";
import type { Reference, RepositoryName, Tag } from "@berth/oci/reference";
import type { Authorizer } from "../access/authorize.ts";
import type { Action, Caller, Grant } from "../access/caller.ts";
import type { Blobs } from "../content/blobs.ts";
import type { Manifests } from "../content/manifests.ts";
import type { GrantedRepository, Repositories } from "../content/repositories.ts";
import { checkCondition, type TagCondition, type Tags } from "../content/tags.ts";

/** A pushed manifest. */
export interface ManifestPush {
  readonly reference: Reference;
  /** Further tags, from `?tag=`. */
  readonly tags: readonly Tag[];
  readonly contentType: string | undefined;
  readonly bytes: Uint8Array;
  readonly condition: TagCondition;
  /** For a push by tag: which algorithm names the manifest. */
  readonly algorithm: DigestAlgorithm;
}

/** The result of a push. */
export interface Pushed {
  readonly digest: Digest;
  readonly subject: Digest | undefined;
  readonly tags: readonly Tag[];
  /** Layers that the manifest names and the repository does not have. */
  readonly absent: readonly Digest[];
}

/** Writes of a repository's content. */
export interface Push {
  /** May this caller push here? It is called before a body is read. Errors: UNAUTHORIZED, NAME_UNKNOWN, DENIED. */
  authorize(caller: Caller, repository: RepositoryName): Grant<"push"> | Promise<Grant<"push">>;
  /**
   * The same for the bytes of a blob, which may take longer than any token lives: they continue when the token ends, and stop when the
   * account's right does. No blob is named before its manifest is, whose push has a token of its own.
   */
  authorizeUpload(caller: Caller, repository: RepositoryName): Grant<"push"> | Promise<Grant<"push">>;
  /** Errors: DIGEST_INVALID, MANIFEST_INVALID, MANIFEST_BLOB_UNKNOWN, PRECONDITION_FAILED. */
  putManifest(grant: Grant<"push">, push: ManifestPush): Promise<Pushed>;
  /** Errors: UNAUTHORIZED, NAME_UNKNOWN, DENIED, MANIFEST_UNKNOWN, PRECONDITION_FAILED. */
  deleteManifest(caller: Caller, repository: RepositoryName, reference: Reference, condition?: TagCondition): Promise<void>;
  /** Errors: UNAUTHORIZED, NAME_UNKNOWN, DENIED, BLOB_UNKNOWN, UNSUPPORTED while a manifest holds it. */
  deleteBlob(caller: Caller, repository: RepositoryName, digest: Digest): Promise<void>;
}

/** What pushing needs. */
export interface PushParts {
  readonly authorizer: Authorizer;
  readonly repositories: Repositories;
  readonly manifests: Manifests;
  readonly tags: Tags;
  readonly blobs: Blobs;
  /** Whether an image may name layers that its repository does not have. */
  readonly acceptSparseImages: boolean;
}

/** Creates the push operations. */
export function createPush({ authorizer, repositories, manifests, tags, blobs, acceptSparseImages }: PushParts): Push {
  async function existing<A extends Action>(grant: Grant<A>): Promise<GrantedRepository<A>> {
    const repository = await repositories.find(grant);
    if (repository === undefined) throw new RegistryError("NAME_UNKNOWN", { detail: { repository: grant.repository } });
    return repository;
  }

  return {
    authorize: (caller, repository) => authorizer.authorize(caller, "push", repository),
    authorizeUpload: (caller, repository) =>
      authorizer.authorize(caller.accessEndsAt === undefined ? caller : { ...caller, accessEndsAt: undefined }, "push", repository),

    async putManifest(grant, push) {
      const { reference, bytes } = push;
      // 1. The bytes have the digest in the address.
      const digest = digestOf(bytes, reference.kind === "digest" ? algorithmOf(reference.digest) : push.algorithm);
      if (reference.kind === "digest" && reference.digest !== digest) {
        throw new RegistryError("DIGEST_INVALID", { detail: { expected: reference.digest, actual: digest } });
      }
      // 2. They are a manifest.
      const parsed = parseManifest(bytes, push.contentType);
      // 3. Manifest, edges, tags and history become durable together.
      const named = [...new Set(reference.kind === "tag" ? [reference.tag, ...push.tags] : push.tags)];
      const put = { digest, bytes, parsed, tags: named, condition: push.condition, mayBeSparse: acceptSparseImages };
      const absent = await repositories.writing(grant, (repository) => manifests.put(repository, put));
      return { digest, subject: parsed.subject?.digest, tags: push.tags, absent };
    },

    async deleteManifest(caller, repository, reference, condition = { kind: "none" }) {
      const granted = await existing(await authorizer.authorize(caller, "delete", repository));
      if (reference.kind === "tag") return tags.delete(granted, reference.tag, condition);
      // A digest always names the same content.
      checkCondition(reference.digest, reference.digest, condition);
      await manifests.delete(granted, reference.digest);
    },

    async deleteBlob(caller, repository, digest) {
      await blobs.delete(await existing(await authorizer.authorize(caller, "delete", repository)), digest);
    },
  };
}
