// Turns a method and an address below /v2/ into one typed request, or an error of the spec. Pure: no headers, no bodies, no look-ups.
// Not here: what is done for each kind (routes.ts).
import { parseDigest, parseDigestAlgorithm, type Digest, type DigestAlgorithm } from "@berth/oci/digest";
import { RegistryError } from "@berth/oci/errors";
import { parseReference, parseRepositoryName, parseTag, type Reference, type RepositoryName, type Tag } from "@berth/oci/reference";

/** Which page of a list. */
export interface Page {
  /** Undefined: as many as the registry gives at once. */
  readonly limit: number | undefined;
  readonly last: string;
}

/** What a client asks for. `head` tells a HEAD from a GET. */
export type V2Request =
  | { readonly kind: "ping" }
  | { readonly kind: "catalog"; readonly page: Page }
  | { readonly kind: "tags"; readonly repository: RepositoryName; readonly page: Page }
  | { readonly kind: "manifest-get"; readonly head: boolean; readonly repository: RepositoryName; readonly reference: Reference }
  | {
      readonly kind: "manifest-put";
      readonly repository: RepositoryName;
      readonly reference: Reference;
      readonly tags: readonly Tag[];
      readonly algorithm: DigestAlgorithm;
    }
  | { readonly kind: "manifest-delete"; readonly repository: RepositoryName; readonly reference: Reference }
  | { readonly kind: "blob-get"; readonly head: boolean; readonly repository: RepositoryName; readonly digest: Digest }
  | { readonly kind: "blob-delete"; readonly repository: RepositoryName; readonly digest: Digest }
  | {
      readonly kind: "upload-begin";
      readonly repository: RepositoryName;
      readonly algorithm: DigestAlgorithm;
      readonly whole: Digest | undefined;
    }
  | {
      readonly kind: "mount";
      readonly repository: RepositoryName;
      readonly digest: Digest;
      readonly from: RepositoryName | undefined;
      readonly algorithm: DigestAlgorithm;
    }
  | { readonly kind: "upload-get"; readonly repository: RepositoryName; readonly id: string }
  | { readonly kind: "upload-append"; readonly repository: RepositoryName; readonly id: string }
  | { readonly kind: "upload-finish"; readonly repository: RepositoryName; readonly id: string; readonly digest: Digest }
  | { readonly kind: "upload-cancel"; readonly repository: RepositoryName; readonly id: string }
  | {
      readonly kind: "referrers";
      readonly repository: RepositoryName;
      readonly subject: Digest;
      readonly artifactType: string | undefined;
      readonly page: Page;
    };

/** The kinds, for metrics. */
export type V2Kind = V2Request["kind"];

/** Longest address. A name of 255, a sha512 digest and ten tags of 128 fit four times over. */
export const MAX_URL_LENGTH = 8192;
/** Most tags that one push may set. The spec asks for at least ten. */
export const MAX_TAGS_PER_PUSH = 64;
/** Largest page that a client may ask for; more is answered with this many and a link to the next. */
export const MAX_PAGE_SIZE = 10_000;

// oxlint-disable-next-line no-control-regex -- they are what is looked for
const CONTROL = /[\x00-\x1f\x7f]/;
const UPLOAD_ID = /^[A-Za-z0-9_=-]{1,128}$/;

/**
 * Parses a request. `url` is the request target, beginning with /v2.
 * Errors: NAME_INVALID, NAME_UNKNOWN, DIGEST_INVALID, TAG_INVALID, MANIFEST_UNKNOWN, PAGE_INVALID, REQUEST_INVALID, UNSUPPORTED,
 * URI_TOO_LONG, BLOB_UPLOAD_UNKNOWN.
 * Source: distribution-spec, Endpoints.
 */
export function parseRequest(method: string, url: string): V2Request {
  if (url.length > MAX_URL_LENGTH) throw new RegistryError("URI_TOO_LONG", { detail: { maxLength: MAX_URL_LENGTH } });
  const mark = url.indexOf("?");
  const path = decode(mark === -1 ? url : url.slice(0, mark));
  const query = mark === -1 ? "" : url.slice(mark + 1);
  if (path === "/v2/" || path === "/v2") return only(method, READ, { kind: "ping" });
  if (path === "/v2/_catalog") return only(method, READ, { kind: "catalog", page: page(query) });
  // The last of the words that end a name: names themselves may hold such a word as a segment.
  const place = /^\/v2\/(.+)\/(manifests|blobs|tags|referrers)\/([^/]+|uploads\/[^/]*)$/.exec(path);
  if (place === null) throw unknownPath(path);
  const [, name, area, rest] = place as unknown as [string, string, string, string];
  if (area === "manifests") return manifest(method, parseRepositoryName(name), rest, query);
  if (area === "blobs")
    return rest.startsWith("uploads/") || rest === "uploads"
      ? upload(method, parseRepositoryName(name), rest, query)
      : blob(method, name, rest);
  if (area === "tags" && rest === "list")
    return only(method, READ, { kind: "tags", repository: parseRepositoryName(name), page: page(query) });
  if (area === "referrers") {
    const parameters = new URLSearchParams(query);
    const artifactType = parameters.get("artifactType") ?? undefined;
    // Neither can be in a database's text, so that nothing could be found.
    if (artifactType !== undefined && CONTROL.test(artifactType)) {
      throw new RegistryError("REQUEST_INVALID", { message: "artifactType holds control characters" });
    }
    return only(method, READ, {
      kind: "referrers",
      repository: parseRepositoryName(name),
      subject: parseDigest(rest),
      artifactType: artifactType === "" ? undefined : artifactType,
      page: page(query),
    });
  }
  throw unknownPath(path);
}

const READ = ["GET", "HEAD"];

function manifest(method: string, repository: RepositoryName, rest: string, query: string): V2Request {
  switch (method) {
    case "GET":
    case "HEAD":
      return { kind: "manifest-get", head: method === "HEAD", repository, reference: readReference(rest) };
    case "PUT": {
      const parameters = new URLSearchParams(query);
      const tags = parameters.getAll("tag");
      if (tags.length > MAX_TAGS_PER_PUSH)
        throw new RegistryError("URI_TOO_LONG", { message: "too many tags in one push", detail: { maxTags: MAX_TAGS_PER_PUSH } });
      const reference = parseReference(rest);
      if (tags.length > 0 && reference.kind === "tag") {
        throw new RegistryError("TAG_INVALID", { message: "?tag= goes with a push by digest" });
      }
      return { kind: "manifest-put", repository, reference, tags: tags.map(parseTag), algorithm: algorithm(parameters) };
    }
    case "DELETE":
      return { kind: "manifest-delete", repository, reference: readReference(rest) };
    default:
      throw notAllowed("GET, HEAD, PUT, DELETE");
  }
}

// What cannot be a reference cannot be there: a read says "unknown", as for any other that is not there.
function readReference(text: string): Reference {
  try {
    return parseReference(text);
  } catch (cause) {
    if (cause instanceof RegistryError && cause.code === "TAG_INVALID") {
      throw new RegistryError("MANIFEST_UNKNOWN", { detail: { reference: text.slice(0, 200) }, cause });
    }
    throw cause;
  }
}

function blob(method: string, name: string, rest: string): V2Request {
  const repository = parseRepositoryName(name);
  const digest = parseDigest(rest);
  if (method === "GET" || method === "HEAD") return { kind: "blob-get", head: method === "HEAD", repository, digest };
  if (method === "DELETE") return { kind: "blob-delete", repository, digest };
  throw notAllowed("GET, HEAD, DELETE");
}

function upload(method: string, repository: RepositoryName, rest: string, query: string): V2Request {
  const id = rest.slice("uploads/".length);
  const parameters = new URLSearchParams(query);
  if (id === "") {
    if (method !== "POST") throw notAllowed("POST");
    const mount = parameters.get("mount");
    const whole = parameters.get("digest");
    if (mount !== null) {
      const from = parameters.get("from");
      return {
        kind: "mount",
        repository,
        digest: parseDigest(mount),
        from: from === null || from === "" ? undefined : parseRepositoryName(from),
        algorithm: algorithm(parameters),
      };
    }
    return { kind: "upload-begin", repository, algorithm: algorithm(parameters), whole: whole === null ? undefined : parseDigest(whole) };
  }
  if (!UPLOAD_ID.test(id)) throw new RegistryError("BLOB_UPLOAD_UNKNOWN", { detail: { upload: id.slice(0, 100) } });
  switch (method) {
    case "GET":
    case "HEAD":
      return { kind: "upload-get", repository, id };
    case "PATCH":
      return { kind: "upload-append", repository, id };
    case "PUT": {
      const digest = parameters.get("digest");
      if (digest === null) throw new RegistryError("DIGEST_INVALID", { message: "?digest= is missing" });
      return { kind: "upload-finish", repository, id, digest: parseDigest(digest) };
    }
    case "DELETE":
      return { kind: "upload-cancel", repository, id };
    default:
      throw notAllowed("GET, HEAD, PATCH, PUT, DELETE");
  }
}

function algorithm(parameters: URLSearchParams): DigestAlgorithm {
  const named = parameters.get("digest-algorithm");
  return named === null ? "sha256" : parseDigestAlgorithm(named);
}

function page(query: string): Page {
  const parameters = new URLSearchParams(query);
  const n = parameters.get("n");
  if (n !== null && !/^\d{1,9}$/.test(n))
    throw new RegistryError("PAGE_INVALID", { message: "n is not a whole number", detail: { n: n.slice(0, 50) } });
  const last = parameters.get("last") ?? "";
  if (CONTROL.test(last)) throw new RegistryError("PAGE_INVALID", { message: "last holds control characters" });
  return { limit: n === null ? undefined : Math.min(Number(n), MAX_PAGE_SIZE), last };
}

function decode(path: string): string {
  if (!path.includes("%")) return path;
  try {
    return decodeURIComponent(path);
  } catch (cause) {
    throw new RegistryError("NAME_INVALID", { message: "the address is not valid percent-encoding", cause });
  }
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
