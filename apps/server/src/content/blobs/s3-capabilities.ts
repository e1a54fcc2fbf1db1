// Tests what the configured S3 service really supports, because documentation and behaviour differ. Not here: anything that correctness
// depends on. The results are for the log, for support, and for maintaining the table of dialects.
import { createHash, randomBytes } from "node:crypto";
import type { S3Bucket } from "./s3-client.ts";
import type { S3Dialect } from "./s3-dialects.ts";
import { serviceCode } from "./s3-errors.ts";

/** The features that the service supports. */
export interface S3Capabilities {
  /** A second write with the dialect's create-only header is refused. */
  readonly createOnly: boolean;
  /** Content whose Content-MD5 is wrong is refused. */
  readonly contentMd5: boolean;
  /** Content whose signed SHA-256 is wrong is refused. */
  readonly payloadSha256: boolean;
  /** Content whose `x-amz-checksum-sha256` is wrong is refused. */
  readonly checksumSha256: boolean;
}

/** Tests the service with a few small objects. Errors: UNAVAILABLE, STORAGE_FULL if it cannot be used at all. */
export async function probeCapabilities(bucket: S3Bucket, dialect: S3Dialect, nextName: () => string): Promise<S3Capabilities> {
  const written: string[] = [];

  async function isRefused(headers: Readonly<Record<string, string>>, name = nextName()): Promise<boolean> {
    written.push(name);
    try {
      await bucket.put(name, randomBytes(16), headers);
      return false;
    } catch (error) {
      // The client leaves a 4xx untranslated; 403 and 409 are the cause of the translated error.
      if (serviceCode(error) !== undefined) return true;
      if (error instanceof Error && serviceCode(error.cause) !== undefined) return true;
      throw error;
    }
  }

  const wrong = (algorithm: string, encoding: "hex" | "base64"): string => createHash(algorithm).update("not these bytes").digest(encoding);
  const twice = nextName();
  try {
    written.push(twice);
    await bucket.put(twice, randomBytes(16));
    return {
      createOnly: await isRefused({ [dialect.createOnly[0]]: dialect.createOnly[1] }, twice),
      contentMd5: await isRefused({ "content-md5": wrong("md5", "base64") }),
      payloadSha256: await isRefused({ "x-amz-content-sha256": wrong("sha256", "hex") }),
      checksumSha256: await isRefused({ "x-amz-checksum-sha256": wrong("sha256", "base64") }),
    };
  } finally {
    await bucket.delete(written);
  }
}
