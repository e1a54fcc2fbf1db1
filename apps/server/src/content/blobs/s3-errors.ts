// Which failure of an S3 service means what to the registry. Not here: retries (the SDK's, s3-client.ts).
import { RegistryError } from "@berth/oci/errors";

/** An error as the SDK throws it: a service's answer where `$metadata` has a status, otherwise the network's or the SDK's own. */
interface ServiceError extends Error {
  readonly Code?: string;
  readonly $metadata?: { readonly httpStatusCode?: number };
}

const FULL = new Set(
  "QuotaExceeded InsufficientCapacity XMinioStorageFull StorageQuotaExceeded StorageFull InsufficientStorage".split(" "),
);
// Said of a bucket's quota by some services. Our requests are far below every service's limit for one object.
const TOO_LARGE = "EntityTooLarge";
// The answers that the store itself looks at: something is not there.
const ABSENT = new Set("NoSuchKey NoSuchUpload NotFound InvalidRange".split(" "));

/** The service's name for an error, or undefined where it is not a service's. */
export function serviceCode(error: unknown): string | undefined {
  if (!(error instanceof Error) || !("$metadata" in error)) return undefined;
  return (error as ServiceError).Code ?? error.name;
}

/** Whether an error says that an object or upload is not there. */
export function isAbsent(error: unknown): boolean {
  const code = serviceCode(error);
  if (code === undefined) return false;
  const status = (error as ServiceError).$metadata?.httpStatusCode;
  return ABSENT.has(code) || (status === 404 && code !== "NoSuchBucket") || status === 416;
}

/** Turns what a request threw into STORAGE_FULL or UNAVAILABLE; absences and requests that are wrong in themselves stay as they are. */
export function translateServiceError(error: unknown): unknown {
  if (error instanceof RegistryError) return error;
  const code = serviceCode(error);
  const status = (error as ServiceError | undefined)?.$metadata?.httpStatusCode;
  if (code !== undefined && (FULL.has(code) || code === TOO_LARGE || status === 507))
    return new RegistryError("STORAGE_FULL", { cause: error });
  if (isAbsent(error)) return error;
  // The service does not know its own parts any more: another upload of the same bytes may go well.
  if (code === "InvalidPart" || code === "InvalidPartOrder") return new RegistryError("UNAVAILABLE", { cause: error });
  // 400, 405, 411, 412 ...: we asked for something wrong, and would again. 401 and 403: the store is closed to us until somebody acts.
  const isOurs = status !== undefined && status >= 400 && status < 500 && ![401, 403, 408, 409, 425, 429].includes(status);
  return isOurs && code !== "NoSuchBucket" && code !== "RequestTimeout" ? error : new RegistryError("UNAVAILABLE", { cause: error });
}
