// Explains for each candidate of garbage collection whether the next round deletes it, or what holds it: a manifest with its tags and
// indexes, a lease, an open upload, a blob that uses a key. It works page by page. Not here: SQL (candidates-store.ts).
import type { Executor } from "../../platform/database/database.ts";
import { findManifest, listKeys, listLeased, listLinksOf, listParentsOf, listTagsOf, listUploads, PAGE } from "./candidates-store.ts";

/** A manifest that holds something, with the first tags and indexes that lead to it. */
export interface Holder {
  readonly manifest: string;
  readonly tags: readonly string[];
  readonly indexes: readonly string[];
}

/** A blob of a repository. */
export interface ExplainedLink {
  readonly kind: "blob";
  readonly repository: string;
  readonly digest: string;
  readonly sizeBytes: number;
  readonly verdict: "taken" | "kept";
  /** `unreferenced`: nothing holds it and its lease has ended. */
  readonly reason: "unreferenced" | "manifest" | "lease";
  readonly leasedUntil: string | undefined;
  readonly heldBy: Holder | undefined;
  /** Other repositories that have the blob, so that its bytes stay; counted up to 100. */
  readonly otherRepositories: number;
  readonly otherRepository: string | undefined;
}

/** Bytes that no blob uses any more. */
export interface ExplainedKey {
  readonly kind: "key";
  readonly key: string;
  readonly sizeBytes: number;
  readonly verdict: "taken" | "kept";
  /** `grace`: readers that have begun may finish. `failed`: the deletion failed and is tried again at `dueAt`. `blob`: a blob uses them. */
  readonly reason: "unreferenced" | "grace" | "failed" | "blob";
  readonly dueAt: string;
  readonly usedBy: string | undefined;
}

/** An upload session. */
export interface ExplainedUpload {
  readonly kind: "upload";
  readonly id: string;
  readonly repository: string;
  readonly receivedBytes: number;
  readonly verdict: "taken" | "kept";
  /** `expired`: its time is over, or it was given up. `writer`: a request writes to it now. `open`: it may be continued. */
  readonly reason: "expired" | "writer" | "open";
  readonly startedAt: string;
  readonly expiresAt: string | undefined;
}

/** One explanation. */
export type Explained = ExplainedLink | ExplainedKey | ExplainedUpload;

/** The options of an explanation. */
export interface ExplainOptions {
  readonly now: number;
  /** The most candidates that are explained. */
  readonly limit: number;
  /** Only this blob, in every repository that has it, also if nothing would delete it. */
  readonly digest: string | undefined;
}

/** Explains candidates in the collector's order: uploads, blobs of repositories, keys; within each kind the first to become due comes first. */
export async function* explain(executor: Executor, { now, limit, digest }: ExplainOptions): AsyncGenerator<Explained> {
  let left = limit;
  const kinds =
    digest === undefined ? [uploads(executor, now), leased(executor, now), keys(executor, now)] : [linksOf(executor, now, digest)];
  for (const kind of kinds) {
    if (left === 0) return;
    for await (const each of kind) {
      yield each;
      left--;
      if (left === 0) return;
    }
  }
}

/** Continues after each page's last row until a page is not full. */
async function* pages<R>(list: (after: R | undefined) => Promise<readonly R[]>): AsyncGenerator<R> {
  let last: R | undefined;
  for (;;) {
    const page = await list(last);
    yield* page;
    if (page.length < PAGE) return;
    last = page.at(-1);
  }
}

async function* uploads(executor: Executor, now: number): AsyncGenerator<ExplainedUpload> {
  const all = pages<Awaited<ReturnType<typeof list>>[number]>((after) => list(after?.expires_at ?? -1, after?.id ?? ""));
  function list(expiresAt: number, id: string) {
    return executor.all(listUploads, { expiresAt, id, limit: PAGE });
  }
  for await (const row of all) {
    const isWritten = row.locked_until !== null && row.locked_until >= now;
    // Zero: it was given up, and the next round removes it.
    const isExpired = row.expires_at < now && !isWritten;
    yield {
      kind: "upload",
      id: row.id,
      repository: row.name,
      receivedBytes: row.offset_bytes,
      verdict: isExpired ? "taken" : "kept",
      reason: isExpired ? "expired" : isWritten ? "writer" : "open",
      startedAt: shown(row.started_at),
      expiresAt: row.expires_at === 0 ? undefined : shown(row.expires_at),
    };
  }
}

type LinkRow = Awaited<ReturnType<typeof listLeasedPage>>[number];

function listLeasedPage(executor: Executor, after: { leased_until: number | null; repository_id: number; blob_id: number } | undefined) {
  const place = { leasedUntil: after?.leased_until ?? -1, repositoryId: after?.repository_id ?? -1, blobId: after?.blob_id ?? -1 };
  return executor.all(listLeased, { ...place, limit: PAGE });
}

async function* leased(executor: Executor, now: number): AsyncGenerator<ExplainedLink> {
  for await (const row of pages<LinkRow>((after) => listLeasedPage(executor, after))) yield explainLink(executor, now, row);
}

async function* linksOf(executor: Executor, now: number, digest: string): AsyncGenerator<ExplainedLink> {
  const list = (after: LinkRow | undefined): Promise<LinkRow[]> =>
    executor.all(listLinksOf, { digest, repositoryId: after?.repository_id ?? -1, limit: PAGE });
  for await (const row of pages<LinkRow>(list)) yield explainLink(executor, now, row);
}

async function explainLink(executor: Executor, now: number, row: LinkRow): Promise<ExplainedLink> {
  const manifestId = row.held_by ?? row.sparsely_held_by;
  const heldBy = manifestId === null ? undefined : await holderOf(executor, manifestId);
  // Without a lease a manifest holds it, or did until just now, and it gets a lease: `doctor` finds links that have neither.
  const isLeased = row.leased_until === null || row.leased_until >= now;
  const reason = heldBy !== undefined ? "manifest" : isLeased ? "lease" : "unreferenced";
  return {
    kind: "blob",
    repository: row.name,
    digest: row.digest,
    sizeBytes: row.size_bytes,
    verdict: reason === "unreferenced" ? "taken" : "kept",
    reason,
    leasedUntil: row.leased_until === null ? undefined : shown(row.leased_until),
    heldBy,
    otherRepositories: Number(row.others ?? 0),
    otherRepository: row.other_repository ?? undefined,
  };
}

async function holderOf(executor: Executor, manifestId: number): Promise<Holder | undefined> {
  const manifest = await executor.first(findManifest, { id: manifestId });
  // It was deleted between the two statements.
  if (manifest === undefined) return undefined;
  const tags = await executor.all(listTagsOf, { manifestId });
  const parents = await executor.all(listParentsOf, { repositoryId: manifest.repository_id, digest: manifest.digest });
  return { manifest: manifest.digest, tags: tags.map((tag) => tag.name), indexes: parents.map((parent) => parent.digest) };
}

async function* keys(executor: Executor, now: number): AsyncGenerator<ExplainedKey> {
  function list(dueAt: number, id: number) {
    return executor.all(listKeys, { dueAt, id, limit: PAGE });
  }
  const all = pages<Awaited<ReturnType<typeof list>>[number]>((after) => list(after?.due_at ?? -1, after?.id ?? -1));
  for await (const row of all) {
    const waits = row.attempts > 0 ? "failed" : "grace";
    const reason = row.used_by !== null ? "blob" : row.due_at < now ? "unreferenced" : waits;
    yield {
      kind: "key",
      key: row.storage_key,
      sizeBytes: row.size_bytes,
      verdict: reason === "unreferenced" ? "taken" : "kept",
      reason,
      dueAt: shown(row.due_at),
      usedBy: row.used_by ?? undefined,
    };
  }
}

function shown(time: number): string {
  return new Date(time).toISOString();
}
