// The requests that the store makes of an S3 service, over the AWS SDK, which is loaded only when a store of this kind is opened.
// Not here: what is stored under which name (paths.ts), uploads (s3.ts), which failure means what (s3-errors.ts).
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

/** Where an S3 service is and how to speak to it. */
export interface S3Settings {
  readonly bucket: string;
  readonly region: string;
  /** Empty: Amazon's for the region. */
  readonly endpoint?: string | undefined;
  /** The service as clients reach it, for signed addresses; the same as `endpoint` where it is empty. */
  readonly publicEndpoint?: string | undefined;
  readonly forcePathStyle?: boolean | undefined;
  /** Without them the SDK takes the machine's or pod's role. */
  readonly accessKeyId?: string | undefined;
  readonly secretAccessKey?: string | undefined;
  readonly dialect: S3Dialect;
  /** Without an answer or a byte for so long, a request is given up and tried again. */
  readonly idleTimeoutMs?: number | undefined;
  /** Tries of one request, the first included, with growing waits in between. */
  readonly attempts?: number | undefined;
  /** No try begins so long after the first one did. */
  readonly deadlineMs?: number | undefined;
}

/** An object or upload found by listing. */
export interface Listed {
  readonly name: string;
  readonly changedAt: Date;
}

/** The part of a completed upload. */
export interface UploadedPart {
  readonly number: number;
  readonly etag: string;
}

/** A part of an object on its way. */
export interface ObjectRange {
  readonly body: Readable;
  /** Bytes that are on their way. */
  readonly sizeBytes: number;
  /** Bytes of the whole object; undefined where the service does not say. */
  readonly wholeBytes: number | undefined;
}

/** One bucket's requests. All throw STORAGE_FULL and UNAVAILABLE; `isAbsent` tells what is not there. */
export interface S3Bucket {
  put(name: string, bytes: Uint8Array, headers?: Readonly<Record<string, string>>): Promise<void>;
  /** A stream of bytes `start` to `end`, of which the service may have fewer; undefined where there is no such object or range. */
  get(name: string, start: number, end: number): Promise<ObjectRange | undefined>;
  sizeOf(name: string): Promise<number | undefined>;
  createMultipart(name: string): Promise<string>;
  uploadPart(name: string, multipartId: string, number: number, bytes: Uint8Array): Promise<UploadedPart>;
  copyPart(name: string, multipartId: string, number: number, source: string, start: number, end: number): Promise<UploadedPart>;
  completeMultipart(name: string, multipartId: string, parts: readonly UploadedPart[]): Promise<void>;
  abortMultipart(name: string, multipartId: string): Promise<void>;
  /** Objects in the order of their names, behind `startAfter` where it is given. */
  list(prefix: string, startAfter?: string): AsyncGenerator<Listed & { readonly sizeBytes: number }, void, void>;
  listMultiparts(prefix: string): AsyncGenerator<Listed & { readonly multipartId: string }, void, void>;
  /** Errors: `PartialDeletion` with the names of those that stay. */
  delete(names: readonly string[]): Promise<void>;
  signedUrl(name: string, mediaType: string, ttlSeconds: number): Promise<string>;
  close(): void;
}

const CONNECT_TIMEOUT_MS = 5_000;
// S3 itself breaks off idle connections after some 20 s; what is asked here is answered in far less than a second, in seconds under load.
const IDLE_TIMEOUT_MS = 15_000;
// Copies inside the service, and putting parts together: the service may work for long before it says a word.
const WORKING_TIMEOUT_MS = 60_000;
// A service that says nothing gets a second try, on a new connection, and no third: clients hear of it within 40 s.
const DEADLINE_MS = 20_000;
// The SDK waits longer each time, for whole seconds where the service says SlowDown; DEADLINE_MS ends it in any case.
const ATTEMPTS = 5;
// One for each blob that is streamed at the same time and each part under way; the SDK's own 50 would make pulls queue.
const MAX_SOCKETS = 256;
// The API's own limits. Source: Amazon S3 API reference, DeleteObjects.
const DELETE_BATCH = 1000;
const PARALLEL_DELETES = 8;
// Below this, handing the bytes to another thread costs more than hashing them.
const HASH_ELSEWHERE_BYTES = 64 * 1024;
// One MD5 update blocks for about 1.5 ms; in between other requests are served.
const MD5_STEP_BYTES = 1024 * 1024;

async function contentMd5(bytes: Uint8Array): Promise<string> {
  const hash = createHash("md5");
  for (let at = 0; at < bytes.length; at += MD5_STEP_BYTES) {
    if (at > 0) await new Promise((resolve) => void setImmediate(resolve));
    hash.update(bytes.subarray(at, at + MD5_STEP_BYTES));
  }
  return hash.digest("base64");
}

/** A header that is signed with the rest; must come before the SDK's own signing step. */
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

/** For requests that ask before they send their body the SDK opens connections of its own, past the shared look-up: they wait for one first. */
function addNaming(client: { readonly middlewareStack: unknown }, lookup: LookupFunction): void {
  type Arguments = { readonly request: { readonly hostname: string; readonly headers: Readonly<Record<string, string>> } };
  const named = (next: (args: Arguments) => unknown) => async (args: Arguments) => {
    if (args.request.headers["Expect"] !== undefined) await untilNamed(lookup, args.request.hostname);
    return next(args);
  };
  (client.middlewareStack as { add(middleware: unknown, options: object): void }).add(named, {
    // Behind the SDK's retries: each try asks anew.
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

  /** The signed hash of the payload, made on another thread: the service refuses bytes that changed on the way. */
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

  /** Deletes as many as one request takes; `kept` gets those that the service names as not deleted. */
  async function deleteBatch(names: readonly string[], kept: Map<string, unknown>): Promise<void> {
    const command = new sdk.DeleteObjectsCommand({ Bucket, Delete: { Quiet: true, Objects: names.map((Key) => ({ Key })) } });
    // Older services insist on this header and know nothing of the SDK's CRC32.
    const withMd5 =
      (next: (args: { request: { headers: Record<string, string>; body: string | Uint8Array } }) => unknown) =>
      (args: { request: { headers: Record<string, string>; body: string | Uint8Array } }) => {
        args.request.headers["content-md5"] = createHash("md5").update(args.request.body).digest("base64");
        return next(args);
      };
    (command.middlewareStack as unknown as HeaderStack).add(withMd5, { step: "build", name: "storeDeleteMd5" });
    const { Errors = [] } = await sent(client.send(command));
    for (const { Key, Code, Message } of Errors) {
      // One that names no object says nothing of any.
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
          // A service that is out of reach would take the same long time over each of the others.
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
            // Names are of characters that need no encoding (paths.ts).
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
