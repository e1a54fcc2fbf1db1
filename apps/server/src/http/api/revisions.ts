// The revision of a resource, computed from its representation: returned as ETag, and required by If-Match and If-None-Match. Not here:
// which resources have one (`revision` of their operations).
import { createHash } from "node:crypto";
import type { IncomingMessage } from "node:http";
import { ApiError } from "@berth/api/errors";
import type { Operation } from "@berth/api/operation";
import { RegistryError } from "@berth/oci/errors";
import type { Precondition } from "../../features/api-route.ts";

/** Enough characters that two revisions of one resource never collide. */
const TAG_CHARACTERS = 22;

/** The entity tag of a resource as it is answered. */
export function entityTag(answer: object): string {
  return `"${createHash("sha256").update(JSON.stringify(answer)).digest("base64url").slice(0, TAG_CHARACTERS)}"`;
}

/** The server's own view of a precondition. */
export interface WatchedPrecondition extends Precondition {
  /** Throws if a condition was sent and no handler checked it: that would be a defect. */
  assertChecked(): void;
}

/** Parses the condition of a write. Errors: PRECONDITION_UNSUPPORTED; REQUEST_INVALID if it is malformed. */
export function readPrecondition({ headers }: IncomingMessage, operation: Operation): WatchedPrecondition {
  const wanted = readTags(headers["if-match"]);
  if (wanted !== undefined && operation.method !== "GET" && operation.revision !== "write") throw new ApiError("PRECONDITION_UNSUPPORTED");
  let isChecked = wanted === undefined || operation.revision !== "write";
  return {
    check(present) {
      isChecked = true;
      if (wanted !== undefined && wanted !== "any" && !wanted.includes(entityTag(present))) {
        throw new RegistryError("PRECONDITION_FAILED", {
          message: "the resource has changed since it was read: read it again",
          headers: { etag: entityTag(present) },
        });
      }
    },
    assertChecked() {
      if (!isChecked) throw new Error(`${operation.id} did not look at If-Match`);
    },
  };
}

/** Whether the client has this revision already. */
export function isKnown({ headers }: IncomingMessage, tag: string): boolean {
  const known = readTags(headers["if-none-match"]);
  return known === "any" || known?.includes(tag) === true;
}

/** Source: RFC 9110, section 13.1.1; caches may have made a tag weak on its way, which changes nothing here. */
function readTags(header: string | undefined): readonly string[] | "any" | undefined {
  if (header === undefined) return undefined;
  if (header.trim() === "*") return "any";
  const tags = header.split(",").map((each) => each.trim().replace(/^W\//, ""));
  if (!tags.every((tag) => /^"[\x21\x23-\x7e]*"$/.test(tag)))
    throw new RegistryError("REQUEST_INVALID", { message: "If-Match and If-None-Match take entity tags in quotes, or *" });
  return tags;
}
