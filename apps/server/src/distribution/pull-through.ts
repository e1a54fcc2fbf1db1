// What a project's upstream adds to pulls: what is not here is fetched, given out and stored; what a tag names is asked again after a while. An
// upstream that does not answer leaves what is stored as it is, and who pulls a tag is warned of that. Who asks has been found to be allowed to
// pull before anything of this. Not here: what gates say of what came (pull.ts), lists (upstream-lists.ts).
import { algorithmOf, digestOf, isDigest, type Digest } from "@berth/oci/digest";
import { RegistryError } from "@berth/oci/errors";
import { parseManifest, type ParsedManifest } from "@berth/oci/manifest";
import { shapeOf } from "@berth/oci/media-types";
import type { Reference, Tag } from "@berth/oci/reference";
import { LRUCache } from "lru-cache";
import type { SystemAuthorizer } from "../access/authorize.ts";
import type { Grant } from "../access/caller.ts";
import type { BlobRow, Blobs } from "../content/blobs.ts";
import type { ManifestRow, Manifests } from "../content/manifests.ts";
import type { Repositories } from "../content/repositories.ts";
import { SECOND_MS } from "../platform/clock.ts";
import { withinTime } from "../platform/within-time.ts";
import type { IncomingBlobs } from "./incoming-blobs.ts";
import type { BlobReader } from "./open-blob.ts";
import type { UploadSessions } from "./upload-session.ts";
import { UpstreamError } from "./upstream.ts";
import type { Subject, UpstreamQuestions } from "./upstream-questions.ts";

/** Pulls through. Errors of all that ask: UPSTREAM_FAILED, TOOMANYREQUESTS, DENIED where the upstream refuses the registry. */
export interface PullThrough {
  /** Undefined: the project has no upstream. */
  subjectOf(grant: Grant<"pull">): Subject | undefined;
  /** `stored`: what is here. At once where that is what is asked for; undefined: neither this registry nor the upstream has it. */
  manifest(
    subject: Subject,
    grant: Grant<"pull">,
    reference: Reference,
    stored: ManifestRow | undefined,
  ): ThroughManifest | undefined | Promise<ThroughManifest | undefined>;
  /** A blob that is not here. `isHead`: its size is enough. */
  blob(subject: Subject, grant: Grant<"pull">, digest: Digest, isHead: boolean): Promise<BlobRow | ThroughBlob | undefined>;
}

/** A manifest. */
export interface ThroughManifest {
  readonly manifest: ManifestRow;
  /** Where it could not be stored: its bytes, and why. Its id is nobody's. */
  readonly unstored?: { readonly bytes: Uint8Array; readonly error: unknown };
  /** What is said beside it. */
  readonly warnings?: readonly string[];
}

/** A blob that has no row yet. */
export interface ThroughBlob extends BlobRow {
  readonly source: BlobReader;
}

/** What pulling through needs. */
export interface PullThroughParts {
  readonly questions: UpstreamQuestions;
  readonly incoming: IncomingBlobs;
  /** What comes is stored in the name of the system: callers may not write here. */
  readonly authorizer: SystemAuthorizer;
  readonly repositories: Repositories;
  readonly manifests: Manifests;
  readonly blobs: Blobs;
  readonly uploads: Pick<UploadSessions, "pushWhole">;
  /** Reads what was stored. */
  readonly reader: BlobReader;
  readonly maxManifestBytes: number;
  /** Told of what came and could not be stored. */
  readonly onUnstored: (error: unknown, repository: string, digest: Digest) => void;
  /** `OPEN_MS` where it is not given. */
  readonly openMs?: number;
}

/** What records name as the one who stored it. */
export const PULL_THROUGH = "pull-through";
/** How long an upstream has until a blob's first byte. */
const OPEN_MS = 30 * SECOND_MS;
/** How long it is believed that there is no such tag: who has just pushed it there does not wait for a time to live. */
const GONE_MS = 2 * SECOND_MS;
/** Tags whose last question is remembered, by this process: one that is forgotten is asked again. */
const MAX_CHECKED = 50_000;
/** No row has it. */
const NO_ID = 0;

interface Checked {
  readonly at: number;
  readonly isThere: boolean;
}

/** A manifest that came, or is here. */
interface Arrived {
  readonly digest: Digest;
  readonly bytes: Uint8Array;
  readonly parsed: ParsedManifest;
}

/** Makes what pulls through. */
export function createPullThrough(parts: PullThroughParts): PullThrough {
  const { questions, incoming, authorizer, repositories, manifests, blobs, uploads, reader, maxManifestBytes, onUnstored } = parts;
  const { openMs = OPEN_MS } = parts;
  const checked = new LRUCache<string, Checked>({ max: MAX_CHECKED });
  const underWay = new Map<string, Promise<ThroughManifest | undefined>>();

  /** What several ask for at the same time comes and is stored once. */
  function once(key: string, work: () => Promise<ThroughManifest | undefined>): Promise<ThroughManifest | undefined> {
    const running = underWay.get(key);
    if (running !== undefined) return running;
    const started = work().finally(() => underWay.delete(key));
    underWay.set(key, started);
    return started;
  }

  /** As long as the project is the one that the caller may pull from, and has the upstream. */
  async function grantToStore({ upstream, repository, projectId }: Subject): Promise<Grant<"push">> {
    const grant = await authorizer.asSystem(PULL_THROUGH, "push", repository, upstream.trait);
    if (grant.projectId !== projectId) throw new RegistryError("NAME_UNKNOWN", { detail: { repository } });
    return grant;
  }

  async function fetchManifest(subject: Subject, reference: Reference): Promise<Arrived | undefined> {
    const what = reference.kind === "tag" ? reference.tag : reference.digest;
    return questions.ask(subject, `manifest ${what}`, async (question) => {
      const got = await subject.upstream.fetchManifest(question, reference, maxManifestBytes);
      return got && arrived(reference, got.bytes, got.mediaType, maxManifestBytes);
    });
  }

  /** Stores a manifest and what a tag names. What cannot be stored is given out all the same. */
  async function store(subject: Subject, { digest, bytes, parsed }: Arrived, tag: Tag | undefined): Promise<ThroughManifest> {
    const tags = tag === undefined ? [] : [tag];
    try {
      const grant = await grantToStore(subject);
      const manifest = await repositories.writing(grant, async (repository) => {
        await manifests.put(repository, { digest, bytes, parsed, tags, condition: { kind: "none" }, mayBeSparse: "wholly" });
        return manifests.findByDigest(repository, digest);
      });
      if (manifest !== undefined) return { manifest };
      // Deleted in this moment.
      throw new RegistryError("CONFLICT", { detail: { repository: subject.repository, digest } });
    } catch (error) {
      onUnstored(error, subject.repository, digest);
      const manifest = { id: NO_ID, digest, mediaType: parsed.mediaType, sizeBytes: bytes.length };
      return { manifest, unstored: { bytes, error } };
    }
  }

  /** A manifest of the repository, as it would come. */
  async function readStored(grant: Grant<"pull">, digest: Digest): Promise<Arrived | undefined> {
    const held = await repositories.find(grant);
    const row = held && (await manifests.findByDigest(held, digest));
    if (row === undefined) return undefined;
    const bytes = await manifests.readBytes(row);
    return { digest, bytes, parsed: parseManifest(bytes, row.mediaType) };
  }

  /** What the tag names there, now. */
  async function checkTag(
    subject: Subject,
    grant: Grant<"pull">,
    tag: Tag,
    stored: ManifestRow | undefined,
  ): Promise<ThroughManifest | undefined> {
    const key = keyOf(subject, tag);
    const at = performance.now();
    const known = await questions.ask(subject, `tag ${tag}`, (question) => subject.upstream.checkTag(question, tag));
    if (known === undefined) {
      checked.set(key, { at, isThere: false });
      return undefined;
    }
    const digest = known.digest !== undefined && isDigest(known.digest) ? known.digest : undefined;
    if (stored !== undefined && stored.digest === digest) {
      checked.set(key, { at, isThere: true });
      return { manifest: stored };
    }
    // By its digest: a tag that is moved meanwhile is seen the next time.
    const found = digest === undefined ? undefined : await readStored(grant, digest);
    const came = found ?? (await fetchManifest(subject, digest === undefined ? { kind: "tag", tag } : { kind: "digest", digest }));
    if (came === undefined) return undefined;
    const through = stored?.digest === came.digest ? { manifest: stored } : await store(subject, came, tag);
    if (through.unstored === undefined) checked.set(key, { at, isThere: true });
    return through;
  }

  function isKnown(subject: Subject, tag: Tag): Checked | undefined {
    const last = checked.get(keyOf(subject, tag));
    if (last === undefined) return undefined;
    const ttlMs = subject.upstream.tagTtlMs(subject.traits);
    return performance.now() - last.at < (last.isThere ? ttlMs : Math.min(ttlMs, GONE_MS)) ? last : undefined;
  }

  async function revalidate(
    subject: Subject,
    grant: Grant<"pull">,
    tag: Tag,
    stored: ManifestRow | undefined,
  ): Promise<ThroughManifest | undefined> {
    try {
      return await checkTag(subject, grant, tag, stored);
    } catch (error) {
      if (stored === undefined || !(error instanceof RegistryError)) throw error;
      return { manifest: stored, warnings: [`${subject.repository}:${tag} may be out of date: ${error.message}`] };
    }
  }

  return {
    subjectOf: (grant) => questions.subjectOf(grant),

    manifest(subject, grant, reference, stored) {
      if (reference.kind === "tag") {
        const known = isKnown(subject, reference.tag);
        if (known?.isThere === false) return undefined;
        if (known !== undefined && stored !== undefined) return { manifest: stored };
        return once(keyOf(subject, reference.tag), () => revalidate(subject, grant, reference.tag, stored));
      }
      // What a digest names is itself, now and always.
      if (stored !== undefined) return { manifest: stored };
      return once(keyOf(subject, reference.digest), async () => {
        const came = await fetchManifest(subject, reference);
        return came && store(subject, came, undefined);
      });
    },

    async blob(subject, grant, digest, isHead) {
      const { upstream, repository, projectId, traits } = subject;
      const key = keyOf(subject, digest);
      const row = (sizeBytes: number, source: BlobReader): ThroughBlob => ({ id: NO_ID, digest, sizeBytes, key: undefined, source });
      const findStored = async (): Promise<BlobRow | undefined> => {
        const held = await repositories.find(grant);
        return held && blobs.find(held, digest);
      };
      const running = incoming.find(key);
      if (running !== undefined) return row(running.sizeBytes, running.source);
      // One that came while it was looked for.
      const arrivedNow = await findStored();
      if (arrivedNow !== undefined) return arrivedNow;
      if (isHead) {
        const known = await questions.ask(subject, `blob ${digest}`, (question) => upstream.checkBlob(question, digest));
        if (known === undefined) return undefined;
        if (known.sizeBytes !== undefined) return row(known.sizeBytes, reader);
      }
      questions.checkHold(subject);
      const came = await incoming.fetch(key, {
        projectId,
        digest,
        open: (signal) => {
          const late = () => new UpstreamError("unreachable", `it did not begin to send a blob within ${Math.ceil(openMs / SECOND_MS)} s`);
          return withinTime(upstream.openBlob({ repository, projectId, traits, signal }, digest), openMs, late);
        },
        store: async (chunk) => uploads.pushWhole(await grantToStore(subject), digest, chunk),
        onUnstored: (error) => onUnstored(error, repository, digest),
        async *readStored(start, end) {
          const stored = await findStored();
          if (stored === undefined) throw new RegistryError("UNAVAILABLE", { message: "the blob was deleted while it was read" });
          yield* reader.read(stored, start, end);
        },
        refusalOf: (error) => questions.refusalOf(subject, `blob ${digest}`, error),
      });
      return came && row(came.sizeBytes, came.source);
    },
  };
}

function keyOf({ project, repository }: Subject, what: Tag | Digest): string {
  return `${project} ${repository} ${what}`;
}

/** Looks at a manifest that came. Errors: `UpstreamError` for one that it cannot be. */
function arrived(reference: Reference, bytes: Uint8Array, mediaType: string | undefined, maxBytes: number): Arrived {
  if (bytes.length > maxBytes) throw new UpstreamError("wrong", `its manifest is larger than limits.manifestBytes, ${maxBytes}`);
  const digest = reference.kind === "tag" ? digestOf(bytes) : digestOf(bytes, algorithmOf(reference.digest));
  if (reference.kind === "digest" && reference.digest !== digest) {
    throw new UpstreamError("wrong", `what it sends as ${reference.digest} has another digest`);
  }
  try {
    // What it says of other types is wrong for a manifest; the bytes say it themselves.
    const parsed = parseManifest(bytes, mediaType !== undefined && shapeOf(mediaType) !== undefined ? mediaType : undefined);
    return { digest, bytes, parsed };
  } catch (cause) {
    throw new UpstreamError("wrong", `its manifest ${digest} is none: ${cause instanceof Error ? cause.message : ""}`, { cause });
  }
}
