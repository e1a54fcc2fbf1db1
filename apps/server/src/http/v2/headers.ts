// Reads the request headers that mean something in the distribution API. Pure. Not here: authorization, ranges of reads.
import { isDigest, type Digest } from "@berth/oci/digest";
import { RegistryError } from "@berth/oci/errors";
import type { TagCondition } from "../../content/tags.ts";

/** A list of entity tags, or any. */
type EntityTags = readonly Digest[] | "*";

/** The most entity tags in one header; each is compared. */
const MAX_ENTITY_TAGS = 64;

// Berth's entity tags are quoted digests; a weak one or a bare digest is accepted as equal.
function entityTags(header: string): EntityTags {
  const text = header.trim();
  if (text === "*") return "*";
  return text
    .split(",", MAX_ENTITY_TAGS)
    .map((part) =>
      part
        .trim()
        .replace(/^W\//, "")
        .replace(/^"(.*)"$/, "$1"),
    )
    .filter((part) => isDigest(part));
}

/** Whether If-None-Match says that the client already has this. Source: RFC 9110, section 13.1.2. */
export function isNotModified(header: string | undefined, digest: Digest): boolean {
  if (header === undefined) return false;
  const known = entityTags(header);
  return known === "*" || known.includes(digest);
}

/**
 * The condition that a write sets on a tag's present state. Errors: REQUEST_INVALID if both headers are given or one holds no entity tag,
 * because a conditional write must not become an unconditional one.
 */
export function tagCondition(ifMatch: string | undefined, ifNoneMatch: string | undefined): TagCondition {
  if (ifMatch === undefined && ifNoneMatch === undefined) return { kind: "none" };
  if (ifMatch !== undefined && ifNoneMatch !== undefined) {
    throw new RegistryError("REQUEST_INVALID", { message: "If-Match and If-None-Match exclude each other" });
  }
  const digests = entityTags((ifMatch ?? ifNoneMatch)!);
  if (digests !== "*" && digests.length === 0) {
    throw new RegistryError("REQUEST_INVALID", { message: 'the condition holds no entity tag: give "sha256:…" or *' });
  }
  return { kind: ifMatch === undefined ? "none-match" : "match", digests };
}

/** A request's Content-Length. Errors: REQUEST_INVALID. */
export function contentLength(header: string | undefined): number | undefined {
  if (header === undefined) return undefined;
  if (!/^\d{1,15}$/.test(header)) throw new RegistryError("REQUEST_INVALID", { message: "Content-Length is not a number" });
  return Number(header);
}

// The defaults of tools when no type is given.
const SAYS_NOTHING = new Set([
  "",
  "application/octet-stream",
  "application/json",
  "application/x-www-form-urlencoded",
  "text/plain",
  "*/*",
]);

/** The media type of a Content-Type, in lower case and without parameters; undefined if it says nothing about the content. */
export function mediaType(header: string | undefined): string | undefined {
  const type = header?.split(";", 1)[0]!.trim().toLowerCase();
  return type === undefined || SAYS_NOTHING.has(type) ? undefined : type;
}
