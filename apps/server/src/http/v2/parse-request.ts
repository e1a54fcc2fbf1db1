// Parses a method and an address below /v2/ into one typed request, or an error of the spec. Pure: no headers, no bodies, no look-ups. Not
// here: how each kind is answered (routes.ts).
import { isDigest, isForeignDigest, parseDigest, parseDigestAlgorithm, type Digest, type DigestAlgorithm } from "@berth/oci/digest";
import { RegistryError, type RegistryErrorOptions } from "@berth/oci/errors";
import {
  findRepositoryName,
  isTag,
  parseReference,
  parseRepositoryName,
  parseTag,
  type ProjectName,
  type Reference,
  type RepositoryName,
  type Tag,
} from "@berth/oci/reference";

/** Which page of a list. */
export interface Page {
  /** Undefined: the registry's default number. */
  readonly limit: number | undefined;
  readonly last: string;
}

/** A repository, and the client's spelling of its name, which answers repeat. */
export interface NamedRepository {
  readonly repository: RepositoryName;
  /** The same name, or its last segment alone if the repository is in the default project. */
  readonly spelling: string;
}

/** A client's request. `head` distinguishes a HEAD from a GET. */
export type V2Request =
  | { readonly kind: "ping" }
  | { readonly kind: "catalog"; readonly page: Page }
  | (NamedRepository &
      (
        | { readonly kind: "tags"; readonly page: Page }
        | { readonly kind: "manifest-get"; readonly head: boolean; readonly reference: Reference }
        | {
            readonly kind: "manifest-put";
            readonly reference: Reference;
            readonly tags: readonly Tag[];
            readonly algorithm: DigestAlgorithm;
          }
        | { readonly kind: "manifest-delete"; readonly reference: Reference }
        | { readonly kind: "blob-get"; readonly head: boolean; readonly digest: Digest }
        | { readonly kind: "blob-delete"; readonly digest: Digest }
        | { readonly kind: "upload-begin"; readonly algorithm: DigestAlgorithm; readonly whole: Digest | undefined }
        | {
            readonly kind: "mount";
            readonly digest: Digest;
            readonly from: NamedRepository | undefined;
            readonly algorithm: DigestAlgorithm;
          }
        | { readonly kind: "upload-get"; readonly id: string }
        | { readonly kind: "upload-append"; readonly id: string }
        | { readonly kind: "upload-finish"; readonly id: string; readonly digest: Digest }
        | { readonly kind: "upload-cancel"; readonly id: string }
        | { readonly kind: "referrers"; readonly subject: Digest; readonly artifactType: string | undefined; readonly page: Page }
      ));

/** The kinds, for metrics. */
export type V2Kind = V2Request["kind"];

/** The longest address. A name of 255, a sha512 digest and ten tags of 128 fit four times over. */
export const MAX_URL_LENGTH = 8192;
/** The most tags that one push may set. The spec asks for at least ten. */
export const MAX_TAGS_PER_PUSH = 64;
/** The largest page; a larger one is answered with this many and a link to the next. */
export const MAX_PAGE_SIZE = 10_000;

// oxlint-disable-next-line no-control-regex -- they are what is looked for
const CONTROL = /[\x00-\x1f\x7f]/;
const UPLOAD_ID = /^[A-Za-z0-9_=-]{1,128}$/;

/**
 * Parses a request. `url` is the request target, beginning with /v2; `defaultProject` is the project of names with one segment.
 * Errors: NAME_INVALID, NAME_UNKNOWN, DIGEST_INVALID, TAG_INVALID, MANIFEST_UNKNOWN, PAGE_INVALID, REQUEST_INVALID, UNSUPPORTED,
 * URI_TOO_LONG, BLOB_UPLOAD_UNKNOWN.
 * Source: distribution-spec, Endpoints.
 */
export function parseRequest(method: string, url: string, defaultProject: ProjectName | undefined): V2Request {
  if (url.length > MAX_URL_LENGTH) throw new RegistryError("URI_TOO_LONG", { detail: { maxLength: MAX_URL_LENGTH } });
  const mark = queryMark(url);
  const path = readPath(method, mark === -1 ? url : url.slice(0, mark));
  const query = mark === -1 ? "" : url.slice(mark + 1);
  if (path === "/v2") return only(method, READ, { kind: "ping" });
  if (path === "/v2/_catalog") return only(method, READ, { kind: "catalog", page: page(query) });
  // The last of these words ends the name: a name may itself have such a word as a segment.
  const place = /^\/v2\/(.+)\/(manifests|blobs|tags|referrers)\/([^/]+|uploads\/[^/]+)$/.exec(path);
  if (place === null) throw unknownPath(path);
  const [, name, area, rest] = place as unknown as [string, string, string, string];
  if (area === "tags" && rest !== "list") throw unknownPath(path);
  const named = { repository: readName(method, name, defaultProject), spelling: name };
  if (area === "manifests") return manifest(method, named, rest, query);
  if (area === "blobs" && rest === "uploads") return uploads(method, named, query, defaultProject);
  if (area === "blobs") return rest.startsWith("uploads/") ? upload(method, named, rest, query) : blob(method, named, rest);
  if (area === "tags") return only(method, READ, { kind: "tags", ...named, page: page(query) });
  if (area === "referrers") {
    const parameters = new URLSearchParams(query);
    const artifactType = parameters.get("artifactType") ?? undefined;
    // A database's text can hold none of these, so nothing could be found.
    if (artifactType !== undefined && CONTROL.test(artifactType)) {
      throw new RegistryError("REQUEST_INVALID", { message: "artifactType holds control characters" });
    }
    return only(method, READ, {
      kind: "referrers",
      ...named,
      subject: parseDigest(rest),
      artifactType: artifactType === "" ? undefined : artifactType,
      page: page(query),
    });
  }
  throw unknownPath(path);
}

const READ = ["GET", "HEAD"];

function manifest(method: string, named: NamedRepository, rest: string, query: string): V2Request {
  switch (method) {
    case "GET":
    case "HEAD":
      // Written out instead of spread: this and the blob's below are the most frequent requests.
      return {
        kind: "manifest-get",
        head: method === "HEAD",
        repository: named.repository,
        spelling: named.spelling,
        reference: readReference(rest),
      };
    case "PUT": {
      const parameters = new URLSearchParams(query);
      const tags = parameters.getAll("tag").filter((tag) => tag !== "");
      if (tags.length > MAX_TAGS_PER_PUSH)
        throw new RegistryError("URI_TOO_LONG", { message: "too many tags in one push", detail: { maxTags: MAX_TAGS_PER_PUSH } });
      const reference = parseReference(rest);
      if (tags.length > 0 && reference.kind === "tag") {
        throw new RegistryError("TAG_INVALID", { message: "?tag= goes with a push by digest" });
      }
      return { kind: "manifest-put", ...named, reference, tags: tags.map(parseTag), algorithm: algorithm(parameters) };
    }
    case "DELETE":
      return { kind: "manifest-delete", ...named, reference: readReference(rest) };
    default:
      throw notAllowed("GET, HEAD, PUT, DELETE");
  }
}

// Something that cannot be a reference cannot exist: a read answers "unknown", as for any other missing one.
function readReference(text: string): Reference {
  if (isTag(text)) return { kind: "tag", tag: text };
  if (isDigest(text)) return { kind: "digest", digest: text };
  if (text.includes(":") && !isForeignDigest(text)) return parseReference(text);
  throw new RegistryError("MANIFEST_UNKNOWN", { detail: { reference: text.slice(0, 200) } });
}

function blob(method: string, { repository, spelling }: NamedRepository, rest: string): V2Request {
  if (method !== "GET" && method !== "HEAD" && method !== "DELETE") throw notAllowed("GET, HEAD, DELETE");
  if (!isDigest(rest) && isForeignDigest(rest)) throw new RegistryError("BLOB_UNKNOWN", { detail: { digest: rest.slice(0, 200) } });
  const digest = parseDigest(rest);
  if (method === "DELETE") return { kind: "blob-delete", repository, spelling, digest };
  return { kind: "blob-get", head: method === "HEAD", repository, spelling, digest };
}

function uploads(method: string, named: NamedRepository, query: string, defaultProject: ProjectName | undefined): V2Request {
  if (method !== "POST") throw notAllowed("POST");
  const parameters = new URLSearchParams(query);
  const hash = algorithm(parameters);
  const mount = parameters.get("mount") ?? "";
  if (mount !== "") {
    const from = parameters.get("from") ?? "";
    const source = from === "" ? undefined : findRepositoryName(from, defaultProject);
    // A mount is only an offer: clients name where they got the blob from, also in another registry's terms. A source that is impossible
    // here leads to an upload.
    if (!isDigest(mount) || (source === undefined && from !== "")) {
      return { kind: "upload-begin", ...named, algorithm: hash, whole: undefined };
    }
    const offered = source === undefined ? undefined : { repository: source, spelling: from };
    return { kind: "mount", ...named, digest: mount, from: offered, algorithm: hash };
  }
  const whole = parameters.get("digest") ?? "";
  return { kind: "upload-begin", ...named, algorithm: hash, whole: whole === "" ? undefined : parseDigest(whole) };
}

function upload(method: string, named: NamedRepository, rest: string, query: string): V2Request {
  const id = rest.slice("uploads/".length);
  if (!UPLOAD_ID.test(id)) throw new RegistryError("BLOB_UPLOAD_UNKNOWN", { detail: { upload: id.slice(0, 100) } });
  switch (method) {
    case "GET":
    case "HEAD":
      return { kind: "upload-get", ...named, id };
    case "PATCH":
      return { kind: "upload-append", ...named, id };
    case "PUT": {
      const digest = new URLSearchParams(query).get("digest") ?? "";
      if (digest === "") throw new RegistryError("DIGEST_INVALID", { message: "?digest= is missing" });
      return { kind: "upload-finish", ...named, id, digest: parseDigest(digest) };
    }
    case "DELETE":
      return { kind: "upload-cancel", ...named, id };
    default:
      throw notAllowed("GET, HEAD, PATCH, PUT, DELETE");
  }
}

function algorithm(parameters: URLSearchParams): DigestAlgorithm {
  const named = parameters.get("digest-algorithm") ?? "";
  return named === "" ? "sha256" : parseDigestAlgorithm(named);
}

function page(query: string): Page {
  const parameters = new URLSearchParams(query);
  const n = (parameters.get("n") ?? "").trim();
  if (!/^\d*$/.test(n)) throw new RegistryError("PAGE_INVALID", { message: "n is not a whole number", detail: { n: n.slice(0, 50) } });
  const last = parameters.get("last") ?? "";
  if (CONTROL.test(last)) throw new RegistryError("PAGE_INVALID", { message: "last holds control characters" });
  return { limit: n === "" ? undefined : Math.min(Number(n), MAX_PAGE_SIZE), last };
}

/**
 * The index at which the query begins, or -1. A first "&" also begins one: scripts for registries whose upload addresses have a query
 * append "&digest=" to every Location. No path contains "&".
 */
function queryMark(url: string): number {
  const mark = url.indexOf("?");
  return mark === -1 ? url.indexOf("&") : mark;
}

/** The decoded path, without one trailing slash, which changes nothing. */
function readPath(method: string, encoded: string): string {
  const path = decode(method, encoded);
  if (path.includes("//")) throw impossible(method, { message: "the address holds a doubled slash, //" });
  return path.endsWith("/") ? path.slice(0, -1) : path;
}

function decode(method: string, path: string): string {
  if (!path.includes("%")) return path;
  try {
    return decodeURIComponent(path);
  } catch (cause) {
    throw impossible(method, { message: "the address is not valid percent-encoding", cause });
  }
}

function readName(method: string, text: string, defaultProject: ProjectName | undefined): RepositoryName {
  try {
    return parseRepositoryName(text, defaultProject);
  } catch (cause) {
    if (!(cause instanceof RegistryError && cause.code === "NAME_INVALID")) throw cause;
    throw impossible(method, { message: cause.message, detail: cause.detail, cause });
  }
}

// An impossible repository name is unknown to a reader, and an error for a writer.
function impossible(method: string, options: RegistryErrorOptions): RegistryError {
  return new RegistryError(READ.includes(method) ? "NAME_UNKNOWN" : "NAME_INVALID", options);
}

function only(method: string, allowed: readonly string[], request: V2Request): V2Request {
  if (!allowed.includes(method)) throw notAllowed(allowed.join(", "));
  return request;
}

function notAllowed(allow: string): RegistryError {
  return new RegistryError("UNSUPPORTED", { message: "the method is not allowed here", headers: { allow } });
}

function unknownPath(path: string): RegistryError {
  return new RegistryError("NAME_UNKNOWN", { message: "no such address in the distribution API", detail: { path: path.slice(0, 300) } });
}
