// The meaning of an S3 service's errors for the registry. Not here: retries (the SDK's, s3-client.ts).
import { RegistryError } from "@berth/oci/errors";

/** An error of the SDK: a service's answer if `$metadata` has a status, otherwise the network's or the SDK's own. */
interface ServiceError extends Error {
  readonly Code?: string;
  readonly $metadata?: { readonly httpStatusCode?: number };
}

const FULL = new Set(
  "QuotaExceeded InsufficientCapacity XMinioStorageFull StorageQuotaExceeded StorageFull InsufficientStorage".split(" "),
);
// Some services answer this when a bucket's quota is reached. Our requests are far below every service's limit for one object.
const TOO_LARGE = "EntityTooLarge";
// The answers for something missing, which the store handles itself.
const ABSENT = new Set("NoSuchKey NoSuchUpload NotFound InvalidRange".split(" "));

/** The service's name for an error, or undefined for other errors. */
export function serviceCode(error: unknown): string | undefined {
  if (!(error instanceof Error) || !("$metadata" in error)) return undefined;
  return (error as ServiceError).Code ?? error.name;
}

/** Whether an error says that an object or upload is missing. */
export function isAbsent(error: unknown): boolean {
  const code = serviceCode(error);
  if (code === undefined) return false;
  const status = (error as ServiceError).$metadata?.httpStatusCode;
  return ABSENT.has(code) || (status === 404 && code !== "NoSuchBucket") || status === 416;
}

/** Translates the error of a request into STORAGE_FULL or UNAVAILABLE; missing objects and invalid requests stay as they are. */
export function translateServiceError(error: unknown): unknown {
  if (error instanceof RegistryError) return error;
  const code = serviceCode(error);
  const status = (error as ServiceError | undefined)?.$metadata?.httpStatusCode;
  if (code !== undefined && (FULL.has(code) || code === TOO_LARGE || status === 507))
    return new RegistryError("STORAGE_FULL", { cause: error });
  if (isAbsent(error)) return error;
  // The service has lost parts: another upload of the same bytes may succeed.
  if (code === "InvalidPart" || code === "InvalidPartOrder") return new RegistryError("UNAVAILABLE", { cause: error });
  // 400, 405, 411, 412 ...: our request was wrong, and would be again. 401 and 403: we have no access to the store until somebody acts.
  const isOurs = status !== undefined && status >= 400 && status < 500 && ![401, 403, 408, 409, 425, 429].includes(status);
  return isOurs && code !== "NoSuchBucket" && code !== "RequestTimeout" ? error : new RegistryError("UNAVAILABLE", { cause: error });
}
