// Names: repository, project, tag, and a reference that is either a tag or a digest. Pure parsers of branded strings. Not here: URLs
// (http/v2/parse-request.ts).
import { isDigest, parseDigest, type Digest } from "./digest.ts";
import { RegistryError } from "./errors.ts";

/** `project/path`, at least two segments. Made only by `parseRepositoryName`. */
export type RepositoryName = string & { readonly __repositoryName: unique symbol };
/** First segment of a repository name. Made only by `parseProjectName` and `projectOf`. */
export type ProjectName = string & { readonly __projectName: unique symbol };
/** A tag. Made only by `parseTag`. */
export type Tag = string & { readonly __tag: unique symbol };
/** The name by which a manifest is requested. */
export type Reference = { readonly kind: "tag"; readonly tag: Tag } | { readonly kind: "digest"; readonly digest: Digest };

// Source: distribution-spec, Pulling manifests: <name> and <reference>.
const SEGMENT = "[a-z0-9]+(?:(?:\\.|_|__|-+)[a-z0-9]+)*";
const NAME = new RegExp(`^${SEGMENT}(?:/${SEGMENT})*$`);
const PROJECT = new RegExp(`^${SEGMENT}$`);
const TAG = /^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$/;

/** The longest repository name. With the host, clients allow 255; the spec leaves the limit to the registry. */
export const MAX_REPOSITORY_NAME_LENGTH = 255;
/** The longest project name, so that a repository always has room for its own part. */
export const MAX_PROJECT_NAME_LENGTH = 128;

/**
 * Parses a repository name, which is PROJECT/PATH; a single segment is a repository of the default project, if there is one.
 * Errors: NAME_INVALID.
 */
export function parseRepositoryName(written: string, defaultProject?: ProjectName): RepositoryName {
  const text = qualify(written, defaultProject);
  if (text.length > MAX_REPOSITORY_NAME_LENGTH || !NAME.test(text)) {
    throw new RegistryError("NAME_INVALID", {
      message: `a repository's name has lower-case letters and digits, with . _ __ or - between them, in parts divided by /, ${MAX_REPOSITORY_NAME_LENGTH} characters at most`,
      detail: { name: text.slice(0, 300) },
    });
  }
  const slash = text.indexOf("/");
  if (slash === -1) {
    throw new RegistryError("NAME_INVALID", {
      message: `a repository is PROJECT/NAME, for example library/${text.slice(0, 100)}`,
      detail: { name: text },
    });
  }
  if (slash > MAX_PROJECT_NAME_LENGTH) {
    throw new RegistryError("NAME_INVALID", { detail: { name: text, maxProjectNameLength: MAX_PROJECT_NAME_LENGTH } });
  }
  return text as RepositoryName;
}

/** The same, or undefined for an invalid name. */
export function findRepositoryName(written: string, defaultProject?: ProjectName): RepositoryName | undefined {
  const text = qualify(written, defaultProject);
  const slash = text.indexOf("/");
  const isName = text.length <= MAX_REPOSITORY_NAME_LENGTH && slash !== -1 && slash <= MAX_PROJECT_NAME_LENGTH && NAME.test(text);
  return isName ? (text as RepositoryName) : undefined;
}

function qualify(written: string, defaultProject: ProjectName | undefined): string {
  return defaultProject === undefined || written.includes("/") ? written : `${defaultProject}/${written}`;
}

/** Parses a project name. Errors: NAME_INVALID. */
export function parseProjectName(text: string): ProjectName {
  if (text.length > MAX_PROJECT_NAME_LENGTH || !PROJECT.test(text)) {
    throw new RegistryError("NAME_INVALID", { message: "invalid project name", detail: { name: text.slice(0, 300) } });
  }
  return text as ProjectName;
}

/** The project that a repository belongs to: its first segment. */
export function projectOf(repository: RepositoryName): ProjectName {
  return repository.slice(0, repository.indexOf("/")) as ProjectName;
}

/** Whether the text is a tag. */
export function isTag(text: string): text is Tag {
  return TAG.test(text);
}

/** Parses a tag. Errors: TAG_INVALID. */
export function parseTag(text: string): Tag {
  if (!isTag(text)) throw new RegistryError("TAG_INVALID", { detail: { tag: text.slice(0, 200) } });
  return text;
}

/** Parses a tag or a digest; only a digest can contain a colon. Errors: DIGEST_INVALID, TAG_INVALID. */
export function parseReference(text: string): Reference {
  if (isDigest(text)) return { kind: "digest", digest: text };
  if (text.includes(":")) return { kind: "digest", digest: parseDigest(text) };
  return { kind: "tag", tag: parseTag(text) };
}
