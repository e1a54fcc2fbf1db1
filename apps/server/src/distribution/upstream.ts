// The port of upstreams: a feature that mirrors other registries answers for the projects that have one. Here: what it is asked, and how it says that
// it has no answer. Not here: who asks and how long (upstream-questions.ts), what becomes of the answers (pull-through.ts, upstream-lists.ts).
import type { Digest } from "@berth/oci/digest";
import type { Reference, RepositoryName, Tag } from "@berth/oci/reference";
import type { ProjectTrait, ProjectTraits } from "../access/project-traits.ts";
import type { ReferrerDescriptor } from "./lists.ts";

/** Which repository it is about. Nothing of who asks: one question answers all who ask at the same time. */
export interface UpstreamQuestion {
  readonly repository: RepositoryName;
  readonly projectId: number;
  /** Has the settings, under the trait of the upstream. */
  readonly traits: ProjectTraits;
  /** Aborted when nobody waits any more: the answer is given up, and so is the body of a blob. */
  readonly signal: AbortSignal;
}

/** A manifest as the upstream gives it. It is believed nothing: the digest is taken anew. */
export interface UpstreamManifest {
  readonly bytes: Uint8Array;
  /** Undefined where it does not say. */
  readonly mediaType: string | undefined;
}

/** A blob on its way. A piece is valid until the next one is asked for; whoever asks for none holds the upstream up. */
export interface UpstreamBlob {
  /** Undefined where it does not say. */
  readonly sizeBytes: number | undefined;
  readonly body: AsyncIterable<Uint8Array>;
}

/** A page that is asked for: behind a tag (empty for the first), or at a place that the page before named. */
export interface UpstreamPlace {
  readonly after: string;
  readonly place: string | undefined;
  readonly limit: number;
}

/** A page, and the place of the next; undefined at the end. */
export interface UpstreamPage<T> {
  readonly items: readonly T[];
  readonly next: string | undefined;
}

/** Another registry. Undefined is an answer: it has no such thing. Where it gives none, `UpstreamError` is thrown. */
export interface Upstream {
  /** Projects without it are never asked about. Its `pushRefusal` keeps everybody else from writing into them. */
  readonly trait: ProjectTrait & { readonly pushRefusal: string };
  /** How long what a tag names is known before it is asked again. */
  tagTtlMs(traits: ProjectTraits): number;
  /** What a tag names; undefined digest where it does not say without giving the manifest. */
  checkTag(question: UpstreamQuestion, tag: Tag): Promise<{ readonly digest: Digest | undefined } | undefined>;
  /** `maxBytes`: what is longer is no answer. */
  fetchManifest(question: UpstreamQuestion, reference: Reference, maxBytes: number): Promise<UpstreamManifest | undefined>;
  /** Its size, without its bytes; undefined size where it does not say. */
  checkBlob(question: UpstreamQuestion, digest: Digest): Promise<{ readonly sizeBytes: number | undefined } | undefined>;
  openBlob(question: UpstreamQuestion, digest: Digest): Promise<UpstreamBlob | undefined>;
  /** In byte order, as the specification has it. */
  listTags(question: UpstreamQuestion, page: UpstreamPlace): Promise<UpstreamPage<string> | undefined>;
  /** `after` is always empty. */
  listReferrers(
    question: UpstreamQuestion,
    subject: Digest,
    page: UpstreamPlace & { readonly artifactType: string | undefined },
  ): Promise<UpstreamPage<ReferrerDescriptor> | undefined>;
}

/**
 * Why there is no answer: it cannot be reached or is not up to it (unreachable), it wants other credentials (refused), fewer questions (busy), or it
 * says what cannot be (wrong).
 */
export type UpstreamFailure = "unreachable" | "refused" | "busy" | "wrong";

/** No answer. The message is told to clients: no address, no credentials. */
export class UpstreamError extends Error {
  readonly failure: UpstreamFailure;
  /** When it wants to be asked again. */
  readonly retryAfterMs: number | undefined;

  constructor(
    failure: UpstreamFailure,
    message: string,
    options: { readonly cause?: unknown; readonly retryAfterMs?: number | undefined } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = "UpstreamError";
    this.failure = failure;
    this.retryAfterMs = options.retryAfterMs;
  }
}
