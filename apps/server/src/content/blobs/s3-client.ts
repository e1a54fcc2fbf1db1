// The requests of the store to an S3 service, over the AWS SDK, which is loaded only when such a store is opened. Not here: object names
// (paths.ts), uploads (s3.ts), the meaning of errors (s3-errors.ts).
import { createHash, webcrypto } from "node:crypto";
import type { LookupFunction } from "node:net";
import type { Readable } from "node:stream";
import type { ListMultipartUploadsCommandOutput, S3Client } from "@aws-sdk/client-s3";
import type { getSignedUrl } from "@aws-sdk/s3-request-presigner";
import { createSharedLookup, untilNamed } from "../../platform/shared-lookup.ts";
import type { S3Dialect } from "./s3-dialects.ts";
import { PartialDeletion } from "./partial-deletion.ts";
import { isAbsent, serviceCode, translateServiceError } from "./s3-errors.ts";
import { withDeadline } from "./s3-retries.ts";

/** The address and the options of an S3 service. */
export interface S3Settings {
  readonly bucket: string;
  readonly region: string;
  /** Empty: Amazon's for the region. */
  readonly endpoint?: string | undefined;
  /** The service's address for clients, in signed addresses; `endpoint` if it is empty. */
  readonly publicEndpoint?: string | undefined;
  readonly forcePathStyle?: boolean | undefined;
  /** Without them the SDK uses the role of the machine or pod. */
  readonly accessKeyId?: string | undefined;
  readonly secretAccessKey?: string | undefined;
  readonly dialect: S3Dialect;
  /** A request without an answer or a byte for this long is abandoned and tried again. */
  readonly idleTimeoutMs?: number | undefined;
  /** Attempts for one request, the first included, with growing waits in between. */
  readonly attempts?: number | undefined;
  /** No attempt begins this long after the first one did. */
  readonly deadlineMs?: number | undefined;
}

/** An object or upload in a listing. */
export interface Listed {
  readonly name: string;
  readonly changedAt: Date;
}

/** The part of a completed upload. */
export interface UploadedPart {
  readonly number: number;
  readonly etag: string;
}

/** A range of an object that is being read. */
export interface ObjectRange {
  readonly body: Readable;
  /** The number of bytes that will come. */
  readonly sizeBytes: number;
  /** The size of the whole object; undefined if the service does not say. */
  readonly wholeBytes: number | undefined;
}

/** Requests to one bucket. All throw STORAGE_FULL and UNAVAILABLE; `isAbsent` recognises the error for a missing object. */
export interface S3Bucket {
  put(name: string, bytes: Uint8Array, headers?: Readonly<Record<string, string>>): Promise<void>;
  /** A stream of bytes `start` to `end`, which may end early; undefined if there is no such object or range. */
  get(name: string, start: number, end: number): Promise<ObjectRange | undefined>;
  sizeOf(name: string): Promise<number | undefined>;
  createMultipart(name: string): Promise<string>;
  uploadPart(name: string, multipartId: string, number: number, bytes: Uint8Array): Promise<UploadedPart>;
  copyPart(name: string, multipartId: string, number: number, source: string, start: number, end: number): Promise<UploadedPart>;
  completeMultipart(name: string, multipartId: string, parts: readonly UploadedPart[]): Promise<void>;
  abortMultipart(name: string, multipartId: string): Promise<void>;
  /** Objects in the order of their names, after `startAfter` if it is given. */
  list(prefix: string, startAfter?: string): AsyncGenerator<Listed & { readonly sizeBytes: number }, void, void>;
  listMultiparts(prefix: string): AsyncGenerator<Listed & { readonly multipartId: string }, void, void>;
  /** Errors: `PartialDeletion` with the names of those that stay. */
  delete(names: readonly string[]): Promise<void>;
  signedUrl(name: string, mediaType: string, ttlSeconds: number): Promise<string>;
  close(): void;
}

const CONNECT_TIMEOUT_MS = 5_000;
// S3 itself closes idle connections after some 20 s; the requests made here are answered in far less than a second, in seconds under load.
const IDLE_TIMEOUT_MS = 15_000;
// For copies inside the service, and for completing an upload: the service may work for long before it sends anything.
const WORKING_TIMEOUT_MS = 60_000;
// A silent service gets a second attempt, on a new connection, and no third: clients get an error within 40 s.
const DEADLINE_MS = 20_000;
// The SDK waits longer each time, for whole seconds if the service says SlowDown; DEADLINE_MS ends it in any case.
const ATTEMPTS = 5;
// One for each blob that is streamed and each part that is sent at the same time; the SDK's default of 50 would make pulls queue.
const MAX_SOCKETS = 256;
// The API's own limits. Source: Amazon S3 API reference, DeleteObjects.
const DELETE_BATCH = 1000;
const PARALLEL_DELETES = 8;
// For smaller buffers, passing the bytes to another thread costs more than hashing them.
const HASH_ELSEWHERE_BYTES = 64 * 1024;
// One MD5 update blocks for about 1.5 ms; between updates other requests are served.
const MD5_STEP_BYTES = 1024 * 1024;

async function contentMd5(bytes: Uint8Array): Promise<string> {
  const hash = createHash("md5");
  for (let at = 0; at < bytes.length; at += MD5_STEP_BYTES) {
    if (at > 0) await new Promise((resolve) => void setImmediate(resolve));
    hash.update(bytes.subarray(at, at + MD5_STEP_BYTES));
  }
  return hash.digest("base64");
}

/** A header that is signed with the others; it must be added before the SDK's own signing step. */
interface HeaderStack {
  add(middleware: unknown, options: { readonly step: "build"; readonly name: string }): void;
}

function addHeaders(command: { readonly middlewareStack: unknown }, headers: Readonly<Record<string, string>>): void {
  const withHeaders =
    (next: (args: { request: { headers: Record<string, string> } }) => unknown) =>
    (args: { request: { headers: Record<string, string> } }) => {
      Object.assign(args.request.headers, headers);
      return next(args);
    };
  (command.middlewareStack as HeaderStack).add(withHeaders, { step: "build", name: "storeHeaders" });
}

/**
 * For requests with `Expect: 100-continue` the SDK opens connections of its own that bypass the shared look-up, so they wait for it first.
 */
function addNaming(client: { readonly middlewareStack: unknown }, lookup: LookupFunction): void {
  type Arguments = { readonly request: { readonly hostname: string; readonly headers: Readonly<Record<string, string>> } };
  const named = (next: (args: Arguments) => unknown) => async (args: Arguments) => {
    if (args.request.headers["Expect"] !== undefined) await untilNamed(lookup, args.request.hostname);
    return next(args);
  };
  (client.middlewareStack as { add(middleware: unknown, options: object): void }).add(named, {
    // After the SDK's retry step, so that each attempt waits again.
    step: "finalizeRequest",
    priority: "low",
    name: "storeNaming",
  });
}

const silent = { trace: ignore, debug: ignore, info: ignore, warn: ignore, error: ignore };
function ignore(): void {}

/** Loads the SDK and connects it to a bucket; makes no request. */
export async function connectBucket(settings: S3Settings): Promise<S3Bucket> {
  const sdk = await import("@aws-sdk/client-s3");
  const { bucket: Bucket, dialect } = settings;
  const lookup = createSharedLookup();
  const isPathStyle = settings.forcePathStyle === true || (dialect.addressing === "path" && settings.endpoint !== undefined);

  function connect(endpoint: string | undefined, idleTimeoutMs: number): S3Client {
    const { accessKeyId, secretAccessKey } = settings;
    const connected = new sdk.S3Client({
      region: settings.region,
      ...(endpoint === undefined ? {} : { endpoint }),
      ...(accessKeyId === undefined || secretAccessKey === undefined ? {} : { credentials: { accessKeyId, secretAccessKey } }),
      forcePathStyle: isPathStyle,
      // The SDK's newer default adds trailers that most services other than Amazon's refuse or mistake for content.
      requestChecksumCalculation: "WHEN_REQUIRED",
      responseChecksumValidation: "WHEN_REQUIRED",
      maxAttempts: settings.attempts ?? ATTEMPTS,
      retryMode: "standard",
      ...(dialect.refusesEarly ? {} : { expectContinueHeader: false }),
      logger: silent,
      requestHandler: {
        connectionTimeout: CONNECT_TIMEOUT_MS,
        socketTimeout: idleTimeoutMs,
        httpAgent: { keepAlive: true, maxSockets: MAX_SOCKETS, lookup },
        httpsAgent: { keepAlive: true, maxSockets: MAX_SOCKETS, lookup },
        logger: silent,
      },
    });
    addNaming(connected, lookup);
    const { config } = connected;
    const { retryStrategy } = config;
    config.retryStrategy = async () => withDeadline(await retryStrategy(), settings.deadlineMs ?? DEADLINE_MS);
    return connected;
  }

  const client = connect(settings.endpoint, settings.idleTimeoutMs ?? IDLE_TIMEOUT_MS);
  const workingClient = connect(settings.endpoint, Math.max(settings.idleTimeoutMs ?? 0, WORKING_TIMEOUT_MS));
  let publicClient: S3Client | undefined;
  let presign: typeof getSignedUrl | undefined;

  async function sent<T>(request: Promise<T>): Promise<T> {
    try {
      return await request;
    } catch (error) {
      throw translateServiceError(error);
    }
  }

  async function unlessAbsent<T>(request: Promise<T>): Promise<T | undefined> {
    try {
      return await request;
    } catch (error) {
      if (isAbsent(error)) return undefined;
      throw translateServiceError(error);
    }
  }

  /** The signed hash of the payload, computed on another thread: the service refuses bytes that changed on the way. */
  async function payloadHeaders(bytes: Uint8Array): Promise<Record<string, string>> {
    const headers: Record<string, string> = {};
    if (bytes.length >= HASH_ELSEWHERE_BYTES) {
      headers["x-amz-content-sha256"] = Buffer.from(await webcrypto.subtle.digest("SHA-256", bytes as Uint8Array<ArrayBuffer>)).toString(
        "hex",
      );
    }
    if (dialect.contentMd5) headers["content-md5"] = await contentMd5(bytes);
    return headers;
  }

  /** Deletes as many as one request takes; `kept` collects those that the service names as not deleted. */
  async function deleteBatch(names: readonly string[], kept: Map<string, unknown>): Promise<void> {
    const command = new sdk.DeleteObjectsCommand({ Bucket, Delete: { Quiet: true, Objects: names.map((Key) => ({ Key })) } });
    // Older services require this header and do not know the SDK's CRC32.
    const withMd5 =
      (next: (args: { request: { headers: Record<string, string>; body: string | Uint8Array } }) => unknown) =>
      (args: { request: { headers: Record<string, string>; body: string | Uint8Array } }) => {
        args.request.headers["content-md5"] = createHash("md5").update(args.request.body).digest("base64");
        return next(args);
      };
    (command.middlewareStack as unknown as HeaderStack).add(withMd5, { step: "build", name: "storeDeleteMd5" });
    const { Errors = [] } = await sent(client.send(command));
    for (const { Key, Code, Message } of Errors) {
      // An error without an object's name says nothing about any of them.
      if (Key === undefined) throw translateServiceError(new Error(`objects were not deleted: ${Code} ${Message}`));
      if (Code !== "NoSuchKey") kept.set(Key, new Error(`${Key} was not deleted: ${Code} ${Message}`));
    }
  }

  async function deleteSingly(names: readonly string[], kept: Map<string, unknown>): Promise<void> {
    const queue = names.values();
    const worker = async (): Promise<void> => {
      for (const Key of queue) {
        try {
          await unlessAbsent(client.send(new sdk.DeleteObjectCommand({ Bucket, Key })));
        } catch (error) {
          // If the service is unreachable, each of the others would take the same long time.
          if (serviceCode((error as { cause?: unknown }).cause) === undefined) throw error;
          kept.set(Key, error);
        }
      }
    };
    const results = await Promise.allSettled(Array.from({ length: PARALLEL_DELETES }, worker));
    const failed = results.find((result) => result.status === "rejected");
    if (failed !== undefined) throw failed.reason;
  }

  return {
    async put(Key, Body, headers = {}) {
      const command = new sdk.PutObjectCommand({ Bucket, Key, Body });
      addHeaders(command, { ...(await payloadHeaders(Body)), ...headers });
      await sent(client.send(command));
    },
    async get(Key, start, end) {
      const answer = await unlessAbsent(client.send(new sdk.GetObjectCommand({ Bucket, Key, Range: `bytes=${start}-${end}` })));
      if (answer?.Body === undefined) return undefined;
      const { Body, ContentLength, ContentRange } = answer;
      const whole = /\/(\d+)$/.exec(ContentRange ?? "")?.[1];
      return {
        body: Body as Readable,
        sizeBytes: ContentLength ?? end - start + 1,
        wholeBytes: whole === undefined ? undefined : Number(whole),
      };
    },
    async sizeOf(Key) {
      return (await unlessAbsent(client.send(new sdk.HeadObjectCommand({ Bucket, Key }))))?.ContentLength;
    },
    async createMultipart(Key) {
      const { UploadId } = await sent(client.send(new sdk.CreateMultipartUploadCommand({ Bucket, Key })));
      if (UploadId === undefined) throw new Error("the service gave no id for a multipart upload");
      return UploadId;
    },
    async uploadPart(Key, UploadId, PartNumber, Body) {
      const command = new sdk.UploadPartCommand({ Bucket, Key, UploadId, PartNumber, Body });
      addHeaders(command, await payloadHeaders(Body));
      const { ETag } = await sent(client.send(command));
      if (ETag === undefined) throw new Error("the service gave no tag for a part");
      return { number: PartNumber, etag: ETag };
    },
    async copyPart(Key, UploadId, PartNumber, source, start, end) {
      const answer = await sent(
        workingClient.send(
          new sdk.UploadPartCopyCommand({
            Bucket,
            Key,
            UploadId,
            PartNumber,
            // Names consist of characters that need no encoding (paths.ts).
            CopySource: `${Bucket}/${source}`,
            CopySourceRange: `bytes=${start}-${end}`,
          }),
        ),
      );
      const etag = answer.CopyPartResult?.ETag;
      if (etag === undefined) throw new Error("the service gave no tag for a copied part");
      return { number: PartNumber, etag };
    },
    async completeMultipart(Key, UploadId, parts) {
      const Parts = parts.map(({ number, etag }) => ({ PartNumber: number, ETag: etag }));
      await sent(workingClient.send(new sdk.CompleteMultipartUploadCommand({ Bucket, Key, UploadId, MultipartUpload: { Parts } })));
    },
    async abortMultipart(Key, UploadId) {
      await unlessAbsent(client.send(new sdk.AbortMultipartUploadCommand({ Bucket, Key, UploadId })));
    },
    async *list(Prefix, StartAfter) {
      let ContinuationToken: string | undefined;
      do {
        const from = ContinuationToken === undefined ? (StartAfter === undefined ? {} : { StartAfter }) : { ContinuationToken };
        const page = await sent(client.send(new sdk.ListObjectsV2Command({ Bucket, Prefix, ...from })));
        for (const { Key, Size, LastModified } of page.Contents ?? []) {
          if (Key !== undefined) yield { name: Key, sizeBytes: Size ?? 0, changedAt: LastModified ?? new Date() };
        }
        ContinuationToken = page.IsTruncated === true ? page.NextContinuationToken : undefined;
      } while (ContinuationToken !== undefined);
    },
    async *listMultiparts(Prefix) {
      let marker: { KeyMarker?: string; UploadIdMarker?: string } | undefined = {};
      do {
        const page: ListMultipartUploadsCommandOutput = await sent(
          client.send(new sdk.ListMultipartUploadsCommand({ Bucket, Prefix, ...marker })),
        );
        for (const { Key, UploadId, Initiated } of page.Uploads ?? []) {
          if (Key !== undefined && UploadId !== undefined) yield { name: Key, multipartId: UploadId, changedAt: Initiated ?? new Date() };
        }
        marker =
          page.IsTruncated === true && page.NextKeyMarker !== undefined
            ? {
                KeyMarker: page.NextKeyMarker,
                ...(page.NextUploadIdMarker === undefined ? {} : { UploadIdMarker: page.NextUploadIdMarker }),
              }
            : undefined;
      } while (marker !== undefined);
    },
    async delete(names) {
      const kept = new Map<string, unknown>();
      if (!dialect.multiDelete) await deleteSingly(names, kept);
      else for (let at = 0; at < names.length; at += DELETE_BATCH) await deleteBatch(names.slice(at, at + DELETE_BATCH), kept);
      if (kept.size > 0) throw new PartialDeletion(kept.keys(), kept.values().next().value);
    },
    async signedUrl(Key, mediaType, ttlSeconds) {
      presign ??= (await import("@aws-sdk/s3-request-presigner")).getSignedUrl;
      publicClient ??= connect(settings.publicEndpoint ?? settings.endpoint, IDLE_TIMEOUT_MS);
      const command = new sdk.GetObjectCommand({ Bucket, Key, ResponseContentType: mediaType, ResponseContentDisposition: "attachment" });
      return sent(presign(publicClient, command, { expiresIn: ttlSeconds }));
    },
    close() {
      client.destroy();
      workingClient.destroy();
      publicClient?.destroy();
    },
  };
}
