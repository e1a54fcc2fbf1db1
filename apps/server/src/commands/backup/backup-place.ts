// The place of a backup: named files that exist completely or not at all, in a directory or under a prefix of an S3 bucket.
// Not here: names and content of the files (backup-format.ts).
import type { S3DialectName } from "../../content/blobs/s3-dialects.ts";
import { UsageError } from "../../platform/startup-error.ts";

/** A place for files. Names are relative, with slashes, of the characters of backup-format.ts. Errors: UNAVAILABLE, STORAGE_FULL. */
export interface BackupPlace {
  /** The place's name for messages. */
  readonly shown: string;
  /** Returns if it already can hold backups. Errors: `StartupError` if it does not exist or is something else. */
  requireThere(): Promise<void>;
  /** The size of a file, or undefined if there is none. */
  sizeOf(name: string): Promise<number | undefined>;
  /** Writes a file, replacing one of that name; returns its size. When the body fails, nothing is changed and nothing is left behind. */
  write(name: string, body: AsyncIterable<Uint8Array>): Promise<number>;
  /** A file's bytes, `sizeBytes` of them. Errors: BLOB_DAMAGED if the file is missing or too short. */
  read(name: string, sizeBytes: number): AsyncIterable<Uint8Array>;
  /**
   * Names of all files below a folder's name, which ends with a slash. Files that are deleted meanwhile may or may not be listed; all
   * others are.
   */
  list(folder: string): AsyncIterable<string>;
  /** The same with sizes. */
  listSized(folder: string): AsyncIterable<{ readonly name: string; readonly sizeBytes: number }>;
  /** Leftovers of interrupted writes of a backup's files; nobody may write meanwhile. */
  listUnfinished(): AsyncIterable<Unfinished>;
  /** Deletes files; missing ones are fine. */
  delete(names: readonly string[]): Promise<void>;
  /** When it resolves, everything written before is durable. */
  sync(): Promise<void>;
  close(): Promise<void>;
}

/** A leftover of an interrupted write. It is no file. */
export interface Unfinished {
  remove(): Promise<void>;
}

/** How to reach the S3 service of a backup if its address does not say. */
export interface S3Access {
  readonly region: string;
  readonly endpoint: string | undefined;
  readonly forcePathStyle: boolean;
  readonly dialect: S3DialectName;
  readonly accessKeyId: string | undefined;
  readonly secretAccessKey: string | undefined;
  readonly partSizeBytes: number;
}

/** A place as the command line names it. */
export type PlaceAddress =
  | { readonly kind: "directory"; readonly path: string }
  | { readonly kind: "s3"; readonly bucket: string; readonly prefix: string; readonly access: S3Access };

/**
 * Parses `DIRECTORY` or `s3://BUCKET[/PREFIX][?endpoint=URL&region=R&dialect=D]`. Missing parts come from the settings `storage.s3`; an
 * address with an endpoint of its own never gets their keys, only those of the AWS_* environment.
 * Errors: `UsageError`.
 */
export function parsePlace(text: string, settings: S3Access, dialects: readonly string[]): PlaceAddress {
  if (!text.includes("://")) {
    if (text.trim() === "") throw new UsageError("a place is a directory or s3://bucket/prefix");
    return { kind: "directory", path: text };
  }
  const wrong = (problem: string): UsageError => new UsageError(`${text}: ${problem}; a place is a directory or s3://bucket/prefix`);
  const match = /^s3:\/\/([a-zA-Z0-9][a-zA-Z0-9._-]{1,253}[a-zA-Z0-9])(?:\/([^?]*))?(?:\?(.*))?$/.exec(text);
  if (match === null) throw wrong("is not an address");
  const [, bucket = "", prefix = "", query = ""] = match;
  const options = new URLSearchParams(query);
  for (const name of options.keys()) if (!["endpoint", "region", "dialect"].includes(name)) throw wrong(`there is no option ${name}`);
  const endpoint = options.get("endpoint");
  if (endpoint !== null && !/^https?:\/\/[^\s/]+\/?$/.test(endpoint)) throw wrong("endpoint is not an http or https address");
  const dialect = options.get("dialect");
  if (dialect !== null && !dialects.includes(dialect)) throw wrong(`dialect is one of ${dialects.join(", ")}`);
  const ended = prefix === "" || prefix.endsWith("/") ? prefix : `${prefix}/`;
  if (!/^(?:[A-Za-z0-9_-][A-Za-z0-9._-]*\/)*$/.test(ended)) throw wrong("the prefix has other characters than letters, digits and ._-");
  const own = { dialect: (dialect ?? settings.dialect) as S3DialectName, region: options.get("region") ?? settings.region };
  const access: S3Access =
    endpoint === null
      ? { ...settings, ...own }
      : // Most services that have an address of their own want the bucket in the path.
        { ...settings, ...own, endpoint, forcePathStyle: true, accessKeyId: undefined, secretAccessKey: undefined };
  return { kind: "s3", bucket, prefix: ended, access };
}

/** Opens a place without a request or any change. */
export async function openPlace(address: PlaceAddress): Promise<BackupPlace> {
  if (address.kind === "directory") {
    const { openDirectoryPlace } = await import("./directory-place.ts");
    return openDirectoryPlace(address.path);
  }
  const { openS3Place } = await import("./s3-place.ts");
  return openS3Place(address);
}
