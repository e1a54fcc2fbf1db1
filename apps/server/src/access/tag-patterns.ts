// Patterns of tags to which a right may be narrowed: pure. A tag is moved by a push and by its deletion; to pull, no tag matters, since content is pulled
// by digest as well. Not here: who has such a right (rights.ts), where tags are written (content/tags.ts).
import { RegistryError } from "@berth/oci/errors";
import { fitsWildcards } from "../platform/wildcards.ts";
import type { Grant } from "./caller.ts";

// A tag's characters, and `*` for any number of them.
const PATTERN = /^[A-Za-z0-9_*][A-Za-z0-9._*-]{0,127}$/;

/** Whether the text is a pattern of tags. */
export function isTagPattern(text: string): boolean {
  return PATTERN.test(text);
}

/** Whether a pattern names a tag. */
export function matchesTag(pattern: string, tag: string): boolean {
  return fitsWildcards(pattern, tag, "");
}

/** Refuses a tag that a grant's right does not reach. Errors: DENIED. */
export function checkTag({ tags, actor, repository }: Grant, tag: string): void {
  if (tags === undefined || tags.some((pattern) => matchesTag(pattern, tag))) return;
  throw new RegistryError("DENIED", {
    message: `${actor.name} may move only the tags ${tags.join(", ")} of ${repository}, and not ${tag}: who keeps these rights can widen them`,
    detail: { name: repository, tag, allowed: tags },
  });
}

/** Refuses what has no tag by which a narrowed right could be measured: `what` in words that follow "may not". Errors: DENIED. */
export function refuseNarrowed({ tags, actor, repository }: Grant, what: string): void {
  if (tags === undefined) return;
  throw new RegistryError("DENIED", {
    message: `${actor.name} may move only the tags ${tags.join(", ")} of ${repository}, and so may not ${what}`,
    detail: { name: repository, allowed: tags },
  });
}

/** Whether a right that is narrowed as `later` lets somebody do all that was done by one that is narrowed as `before`. */
export function isAsWide(later: readonly string[] | undefined, before: readonly string[] | undefined): boolean {
  return later === undefined || (before !== undefined && before.every((pattern) => later.includes(pattern)));
}
