// The table of all kinds of distribution request; each handler only translates between HTTP and one operation.
// Not here: parsing (parse-request.ts), authorization and the operations (distribution/).
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Digest } from "@berth/oci/digest";
import { RegistryError } from "@berth/oci/errors";
import { OCI_ARTIFACT, OCI_INDEX } from "@berth/oci/media-types";
import { parseContentRange } from "@berth/oci/range";
import { warningValues } from "@berth/oci/warnings";
import type { Caller } from "../../access/caller.ts";
import type { BlobStore } from "../../content/blobs/blob-store.ts";
import type { Manifests } from "../../content/manifests.ts";
import type { PullCounter } from "../../content/pulls.ts";
import type { Lists } from "../../distribution/lists.ts";
import type { Mount } from "../../distribution/mount.ts";
import type { BlobReader } from "../../distribution/open-blob.ts";
import type { Pull } from "../../distribution/pull.ts";
import type { Push } from "../../distribution/push.ts";
import type { Chunk } from "../../distribution/small-uploads.ts";
import type { SessionState, UploadSessions } from "../../distribution/upload-session.ts";
import { CONTENT, NOT_CONTENT } from "../browsers.ts";
import type { Places } from "../limits.ts";
import type { Party } from "../preemption.ts";
import { API_VERSION_HEADER } from "../error-response.ts";
import { endWith, sendBlob } from "./blob-response.ts";
import { type BodyExchange, type BodySettings, invitedBody, manifestLength, readManifestBody } from "./bodies.ts";
import { contentLength, isNotModified, mediaType, tagCondition } from "./headers.ts";
import type { Page, V2Kind, V2Request } from "./parse-request.ts";

/** The parts that the routes need. */
export interface V2Parts {
  readonly pull: Pull;
  readonly push: Push;
  readonly mount: Mount;
  readonly uploads: UploadSessions;
  readonly lists: Lists;
  readonly manifests: Manifests;
  readonly pulls: Pick<PullCounter, "note">;
  readonly reader: BlobReader;
  readonly store: BlobStore;
  readonly uploadSlots: Places;
  /** In bytes: the total size of manifests that are being received and stored. */
  readonly manifestRoom: Places;
  readonly settings: V2Settings;
}

/** Settings of the data plane. */
export interface V2Settings extends BodySettings {
  readonly maxPageSize: number;
  /** The smallest chunk that clients are asked to send; 0 asks for none. */
  readonly minChunkBytes: number;
  /**
   * Whether a blob read may be redirected to the store's signed address: only if the client does not send its credentials along. A store
   * refuses two kinds of credentials at once, and must not see the registry's.
   */
  readonly mayRedirect: (request: IncomingMessage, address: string) => boolean;
  readonly redirect: boolean;
  readonly signedUrlTtlSeconds: number;
}

/** One request with its answer. */
export interface V2Exchange<K extends V2Kind = V2Kind> {
  readonly caller: Caller;
  readonly parsed: Extract<V2Request, { kind: K }>;
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  /** The request's id, which every answer carries; written with the other headers, because a header set earlier makes Node take a slow path. */
  readonly id: string;
  /** What the request counts as under the limits. */
  readonly party: Party;
}

/** The table: one handler for each kind. */
export type V2Routes = { readonly [K in V2Kind]: (exchange: V2Exchange<K>) => Promise<void> };

/** For smaller blobs a redirect costs the client more than the bytes. */
const MIN_REDIRECT_BYTES = 64 * 1024;

/** Creates the table. */
export function createV2Routes(parts: V2Parts): V2Routes {
  const { pull, push, mount, uploads, lists, manifests, pulls, reader, store, uploadSlots, manifestRoom, settings } = parts;

  function chunkOf(exchange: BodyExchange, length: number | undefined): Chunk {
    const range = parseContentRange(exchange.request.headers["content-range"], length);
    return { body: invitedBody(exchange, settings), startBytes: range?.start, lengthBytes: length ?? range?.lengthBytes };
  }

  async function withSlot<T>(party: Party, work: () => Promise<T>): Promise<T> {
    await uploadSlots.enter(party);
    try {
      return await work();
    } finally {
      uploadSlots.leave(party);
    }
  }

  function sessionHeaders(id: string, spelling: string, state: SessionState): Record<string, string | number> {
    return {
      ...NOT_CONTENT,
      "x-request-id": id,
      location: uploadPath(spelling, state.id),
      ...rangeOf(state.offsetBytes),
      "docker-upload-uuid": state.id,
      "content-length": 0,
    };
  }

  /** Adds the upload's present offset to an error about its range. */
  async function withSession<T>(spelling: string, id: string, work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      if (!(error instanceof RegistryError) || error.code !== "RANGE_INVALID") throw error;
      const { offsetBytes } = error.detail as { offsetBytes: number };
      throw new RegistryError("RANGE_INVALID", {
        message: error.message,
        detail: error.detail,
        headers: { location: uploadPath(spelling, id), ...rangeOf(offsetBytes) },
      });
    }
  }

  return {
    // A client without credentials has already been challenged by the handler.
    async ping({ response, id }) {
      sendJson(response, id, "{}", API_VERSION_HEADER);
    },

    async catalog({ caller, parsed, response, id }) {
      const limit = pageLimit(parsed.page, settings);
      const { items, next } = await lists.catalog(caller, parsed.page.last, limit);
      sendJson(
        response,
        id,
        JSON.stringify({ repositories: items }),
        next === undefined ? {} : { link: link("/v2/_catalog", limit, next) },
      );
    },

    async tags({ caller, parsed, response, id }) {
      const limit = pageLimit(parsed.page, settings);
      const page = await lists.tags(caller, parsed.repository, parsed.page.last, limit);
      sendJson(response, id, JSON.stringify({ name: parsed.spelling, tags: page.items }), {
        ...warningHeader(page.warnings),
        ...(page.next === undefined ? {} : { link: link(`/v2/${parsed.spelling}/tags/list`, limit, page.next) }),
      });
    },

    async "manifest-get"({ caller, parsed, request, response, id }) {
      const resolved = pull.resolveManifest(caller, parsed.repository, parsed.reference);
      const manifest = resolved instanceof Promise ? await resolved : resolved;
      // A conditional read counts as a pull: the client uses what it has.
      if (!parsed.head && manifest.bytes === undefined) pulls.note(manifest.id);
      const headers = contentHeaders(id, manifest.digest, caller);
      if (manifest.warnings !== undefined) pushWarnings(headers, manifest.warnings);
      if (manifest.mediaType === OCI_ARTIFACT) headers.push("warning", WITHDRAWN_WARNING);
      if (isNotModified(request.headers["if-none-match"], manifest.digest)) {
        response.writeHead(304, headers);
        response.end();
        return;
      }
      const read = parsed.head ? undefined : (manifest.bytes ?? manifests.readBytes(manifest));
      const bytes = read instanceof Promise ? await read : read;
      headers.push("content-type", manifest.mediaType, "content-length", String(manifest.sizeBytes));
      response.writeHead(200, headers);
      endWith(response, bytes);
    },

    async "manifest-put"(exchange) {
      const { caller, parsed, request, response, id, party } = exchange;
      const grant = await push.authorize(caller, parsed.repository);
      const condition = tagCondition(request.headers["if-match"], request.headers["if-none-match"]);
      const type = mediaType(request.headers["content-type"]);
      // A manifest needs a slot, as a blob does, and room in memory, where it is held whole.
      const pushed = await withSlot(party, async () => {
        const announced = manifestLength(request, settings);
        await manifestRoom.enter(party, Math.max(1, announced ?? settings.maxManifestBytes));
        try {
          const bytes = await readManifestBody(exchange, settings, announced);
          return await push.putManifest(grant, { ...parsed, contentType: type, bytes, condition });
        } finally {
          manifestRoom.leave(party);
        }
      });
      response.writeHead(201, {
        ...NOT_CONTENT,
        "x-request-id": id,
        location: `/v2/${parsed.spelling}/manifests/${pushed.digest}`,
        "docker-content-digest": pushed.digest,
        "content-length": 0,
        ...(pushed.subject === undefined ? {} : { "oci-subject": pushed.subject }),
        ...(pushed.tags.length === 0 ? {} : { "oci-tag": [...pushed.tags] }),
        ...warnings(type, pushed.absent.length),
      });
      response.end();
    },

    async "manifest-delete"({ caller, parsed, request, response, id }) {
      const condition = tagCondition(request.headers["if-match"], request.headers["if-none-match"]);
      await push.deleteManifest(caller, parsed.repository, parsed.reference, condition);
      sendEmpty(response, id, 202);
    },

    async "blob-get"({ caller, parsed, request, response, id, party }) {
      const resolved = pull.resolveBlob(caller, parsed.repository, parsed.digest, parsed.head);
      const blob = resolved instanceof Promise ? await resolved : resolved;
      const headers = contentHeaders(id, blob.digest, caller);
      if (blob.warnings !== undefined) pushWarnings(headers, blob.warnings);
      if (isNotModified(request.headers["if-none-match"], blob.digest)) {
        response.writeHead(304, headers);
        response.end();
        return;
      }
      if (settings.redirect && !parsed.head && blob.key !== undefined && blob.sizeBytes >= MIN_REDIRECT_BYTES) {
        const url = await store.signedUrl(blob.key, { mediaType: "application/octet-stream", ttlSeconds: settings.signedUrlTtlSeconds });
        if (url !== undefined && settings.mayRedirect(request, url)) {
          response.writeHead(307, {
            ...NOT_CONTENT,
            "x-request-id": id,
            location: url,
            "docker-content-digest": blob.digest,
            "content-length": 0,
          });
          response.end();
          return;
        }
      }
      const transfer = settings.transferOf("download");
      party.transfer = transfer;
      await sendBlob(blob.source ?? reader, response, {
        blob,
        head: parsed.head,
        rangeHeader: request.headers.range,
        headers,
        stallMs: settings.bodyIdleTimeoutMs,
        transfer,
      });
    },

    async "blob-delete"({ caller, parsed, response, id }) {
      await push.deleteBlob(caller, parsed.repository, parsed.digest);
      sendEmpty(response, id, 202);
    },

    async "upload-begin"(exchange) {
      const { caller, parsed, request, response, id, party } = exchange;
      const grant = await push.authorizeUpload(caller, parsed.repository);
      if (parsed.whole !== undefined) {
        const digest = parsed.whole;
        const chunk = chunkOf(exchange, contentLength(request.headers["content-length"]));
        await withSlot(party, () => uploads.pushWhole(grant, digest, chunk));
        sendCreated(response, id, parsed.spelling, digest);
        return;
      }
      const state = await uploads.begin(grant, parsed.algorithm);
      response.writeHead(202, {
        ...sessionHeaders(id, parsed.spelling, state),
        ...(settings.minChunkBytes > 0 ? { "oci-chunk-min-length": settings.minChunkBytes } : {}),
      });
      response.end();
    },

    async mount({ caller, parsed, response, id }) {
      const grant = await push.authorize(caller, parsed.repository);
      const { isMounted, warnings: refused } = await mount.mount(caller, grant, parsed.digest, parsed.from?.repository);
      if (isMounted) {
        sendCreated(response, id, parsed.spelling, parsed.digest);
        return;
      }
      response.writeHead(202, {
        ...sessionHeaders(id, parsed.spelling, await uploads.begin(grant, parsed.algorithm)),
        ...warningHeader(refused),
      });
      response.end();
    },

    async "upload-get"({ caller, parsed, response, id }) {
      const grant = await push.authorize(caller, parsed.repository);
      const state = await uploads.get(grant, parsed.id);
      response.writeHead(204, withoutLength({ range: NO_BYTE_YET, ...sessionHeaders(id, parsed.spelling, state) }));
      response.end();
    },

    async "upload-append"(exchange) {
      const { caller, parsed, request, response, id, party } = exchange;
      const grant = await push.authorizeUpload(caller, parsed.repository);
      const chunk = chunkOf(exchange, contentLength(request.headers["content-length"]));
      const state = await withSlot(party, () => withSession(parsed.spelling, parsed.id, () => uploads.append(grant, parsed.id, chunk)));
      response.writeHead(202, sessionHeaders(id, parsed.spelling, state));
      response.end();
    },

    async "upload-finish"(exchange) {
      const { caller, parsed, request, response, id, party } = exchange;
      const grant = await push.authorizeUpload(caller, parsed.repository);
      const length = contentLength(request.headers["content-length"]);
      const hasBody = request.headers["transfer-encoding"] !== undefined || (length ?? 0) > 0;
      const chunk = hasBody ? chunkOf(exchange, length) : undefined;
      await withSlot(party, () => withSession(parsed.spelling, parsed.id, () => uploads.finish(grant, parsed.id, parsed.digest, chunk)));
      sendCreated(response, id, parsed.spelling, parsed.digest);
    },

    async "upload-cancel"({ caller, parsed, response, id }) {
      const grant = await push.authorize(caller, parsed.repository);
      await uploads.cancel(grant, parsed.id);
      response.writeHead(204, { ...NOT_CONTENT, "x-request-id": id });
      response.end();
    },

    async referrers({ caller, parsed, response, id }) {
      const limit = Math.max(1, pageLimit(parsed.page, settings));
      const { artifactType } = parsed;
      const page = await lists.referrers(caller, parsed.repository, parsed.subject, { artifactType, last: parsed.page.last, limit });
      const filter = artifactType === undefined ? "" : `&artifactType=${encodeURIComponent(artifactType)}`;
      sendJson(
        response,
        id,
        JSON.stringify({ schemaVersion: 2, mediaType: OCI_INDEX, manifests: page.items }),
        {
          ...warningHeader(page.warnings),
          ...(artifactType === undefined ? {} : { "oci-filters-applied": "artifactType" }),
          ...(page.next === undefined
            ? {}
            : { link: link(`/v2/${parsed.spelling}/referrers/${parsed.subject}`, limit, page.next, filter) }),
        },
        OCI_INDEX,
      );
    },
  };
}

// Source: distribution-spec, Warnings: warn-code 299, agent "-", a quoted text.
const WITHDRAWN_WARNING = `299 - "${OCI_ARTIFACT} was withdrawn from the OCI specification: push an image manifest with artifactType instead"`;

function warningHeader(texts: readonly string[] = []): Record<string, string[]> {
  return texts.length === 0 ? {} : { warning: warningValues(texts) };
}

function pushWarnings(headers: string[], texts: readonly string[]): void {
  for (const value of warningValues(texts)) headers.push("warning", value);
}

function warnings(type: string | undefined, absentLayers: number): Record<string, string[]> {
  const texts = [
    ...(type === OCI_ARTIFACT ? [WITHDRAWN_WARNING] : []),
    ...(absentLayers > 0 ? [`299 - "${absentLayers} of the layers are not in this repository: a pull fails until they are pushed"`] : []),
  ];
  return texts.length === 0 ? {} : { warning: texts };
}

// The content of a digest never changes, but access to it does: a cache may keep it, and has to revalidate each time, which costs a 304
// without a body. Public content may be kept in a shared cache, other content only in the caller's own.
function askedEachTime(caller: Caller): string {
  return caller.kind === "anonymous" ? "public, no-cache" : "private, no-cache";
}

/** The headers of every answer with content; names and values alternate. */
function contentHeaders(id: string, digest: Digest, caller: Caller): string[] {
  return [...CONTENT, "x-request-id", id, "docker-content-digest", digest, "etag", `"${digest}"`, "cache-control", askedEachTime(caller)];
}

function pageLimit(page: Page, settings: V2Settings): number {
  return Math.min(page.limit ?? settings.maxPageSize, settings.maxPageSize);
}

function link(path: string, limit: number, last: string, more = ""): string {
  return `<${path}?n=${limit}&last=${encodeURIComponent(last)}${more}>; rel="next"`;
}

function uploadPath(spelling: string, id: string): string {
  return `/v2/${spelling}/blobs/uploads/${id}`;
}

// An empty upload has no range: "0-0" would claim one byte, and a client that resumes after it would be refused.
// Source: distribution-spec, Pushing a blob in chunks.
function rangeOf(offsetBytes: number): Record<string, string> {
  return offsetBytes === 0 ? {} : { range: `0-${offsetBytes - 1}` };
}

/**
 * The answer on an upload's state always has a range, because the conformance suite requires one. This range holds no byte, and clients
 * that resume after its end begin at 0.
 */
const NO_BYTE_YET = "0--1";

function withoutLength(headers: Record<string, string | number>): Record<string, string | number> {
  // A 204 has no body and no length. Source: RFC 9110, section 8.6.
  const { "content-length": _, ...rest } = headers;
  return rest;
}

function sendEmpty(response: ServerResponse, id: string, status: number): void {
  response.writeHead(status, { ...NOT_CONTENT, "x-request-id": id, "content-length": 0 });
  response.end();
}

function sendCreated(response: ServerResponse, id: string, spelling: string, digest: Digest): void {
  const location = `/v2/${spelling}/blobs/${digest}`;
  response.writeHead(201, { ...NOT_CONTENT, "x-request-id": id, location, "docker-content-digest": digest, "content-length": 0 });
  response.end();
}

function sendJson(
  response: ServerResponse,
  id: string,
  body: string,
  headers: Record<string, string | string[]> = {},
  type = "application/json",
): void {
  response.writeHead(200, {
    ...NOT_CONTENT,
    "x-request-id": id,
    "content-type": type,
    "content-length": Buffer.byteLength(body),
    ...headers,
  });
  response.end(response.req.method === "HEAD" ? undefined : body);
}
