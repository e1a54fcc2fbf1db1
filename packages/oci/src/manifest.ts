// Reads a manifest's bytes into what the registry must know of it: which blobs, children and subject it names.
// Not here: whether these exist (distribution/push.ts), and any judgement of the image's content.
import { isDigest, type Digest } from "./digest.ts";
import { RegistryError } from "./errors.ts";
import { isNonDistributable, OCI_INDEX, OCI_MANIFEST, shapeOf, type ManifestShape } from "./media-types.ts";

/** A content descriptor. Source: image-spec, descriptor.md */
export interface Descriptor {
  readonly mediaType: string;
  readonly digest: Digest;
  readonly sizeBytes: number;
}

/** What the registry keeps of a manifest besides its bytes. */
export interface ParsedManifest {
  readonly shape: ManifestShape;
  readonly mediaType: string;
  /** `artifactType`, else the config's media type for an image manifest. What referrers are filtered by. */
  readonly artifactType: string | undefined;
  readonly config: Descriptor | undefined;
  /** Config and layers that must be in the repository; non-distributable ones with `urls` are left out. Unique by digest. */
  readonly blobs: readonly Descriptor[];
  /** Manifests that an index names; they may be missing (sparse index). Unique by digest. */
  readonly children: readonly Descriptor[];
  readonly subject: Descriptor | undefined;
  readonly annotations: Readonly<Record<string, string>>;
}

/** Most descriptors in one manifest. 4 MiB of JSON could name 20,000; real images stay under 200, big indexes under 1,000. */
export const MAX_DESCRIPTORS = 10_000;
/** Longest media type. Source: RFC 6838, section 4.2: 127 characters on either side of the slash. */
const MAX_MEDIA_TYPE_LENGTH = 255;
/** Deepest nesting that a manifest's JSON may have, so that hostile input cannot exhaust the stack. */
const MAX_JSON_DEPTH = 64;

type Json = Record<string, unknown>;

/**
 * Parses and checks a manifest. `contentType` is the request's Content-Type, or undefined where the body must tell.
 * Errors: MANIFEST_INVALID.
 */
export function parseManifest(bytes: Uint8Array, contentType: string | undefined): ParsedManifest {
  const root = parseJson(bytes);
  const named = optionalString(root, "mediaType");
  if (contentType !== undefined && named !== undefined && named !== contentType) {
    throw invalid("mediaType in the body differs from Content-Type", { mediaType: named, contentType });
  }
  const mediaType = contentType ?? named ?? guess(root);
  const shape = shapeOf(mediaType);
  if (shape === undefined) throw invalid("media type is not a manifest's", { mediaType: mediaType.slice(0, 200) });
  if (root["schemaVersion"] !== 2 && shape !== "artifact") {
    throw invalid("schemaVersion must be 2", { schemaVersion: root["schemaVersion"] });
  }
  // A body that is both an image and an index is read differently by different clients. Source: CVE-2021-41190.
  if (shape === "image" && ("manifests" in root || "fsLayers" in root)) throw invalid("an image manifest must not have manifests");
  if (shape === "index" && ("layers" in root || "config" in root || "fsLayers" in root)) {
    throw invalid("an index must not have layers or config");
  }
  const annotations = readAnnotations(root);
  const subject = root["subject"] === undefined || root["subject"] === null ? undefined : descriptor(root["subject"], "subject");
  const artifactType = optionalString(root, "artifactType") || undefined;
  // Referrers are looked up by it: a database's index takes neither long texts nor a NUL.
  if (artifactType !== undefined && !isMediaType(artifactType)) throw invalid("artifactType is not a media type");
  if (shape === "index") {
    return {
      shape,
      mediaType,
      artifactType,
      config: undefined,
      blobs: [],
      children: unique(list(root, "manifests", true).map((d, i) => descriptor(d, `manifests[${i}]`))),
      subject,
      annotations,
    };
  }
  const config = shape === "image" ? descriptor(root["config"], "config") : undefined;
  const field = shape === "image" ? "layers" : "blobs";
  const layers = list(root, field, shape === "image").flatMap((value, i) => {
    const layer = descriptor(value, `${field}[${i}]`);
    const elsewhere = Array.isArray((value as Json)["urls"]) && ((value as Json)["urls"] as unknown[]).length > 0;
    return isNonDistributable(layer.mediaType) || elsewhere ? [] : [layer];
  });
  return {
    shape,
    mediaType,
    artifactType: artifactType ?? config?.mediaType,
    config,
    blobs: unique(config === undefined ? layers : [config, ...layers]),
    children: [],
    subject,
    annotations,
  };
}

function parseJson(bytes: Uint8Array): Json {
  let value: unknown;
  try {
    const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
    checkDepth(text);
    value = JSON.parse(text);
  } catch (cause) {
    if (cause instanceof RegistryError) throw cause;
    throw new RegistryError("MANIFEST_INVALID", { message: "manifest is not JSON in UTF-8", cause });
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw invalid("manifest is not a JSON object");
  return value as Json;
}

function checkDepth(text: string): void {
  let depth = 0;
  let inString = false;
  for (let i = 0; i < text.length; i++) {
    const c = text.charCodeAt(i);
    if (inString) {
      if (c === 0x5c) i++;
      else if (c === 0x22) inString = false;
    } else if (c === 0x22) inString = true;
    else if (c === 0x7b || c === 0x5b) {
      if (++depth > MAX_JSON_DEPTH) throw invalid(`manifest is nested deeper than ${MAX_JSON_DEPTH}`);
    } else if (c === 0x7d || c === 0x5d) depth--;
  }
}

function guess(root: Json): string {
  if (Array.isArray(root["manifests"])) return OCI_INDEX;
  if (root["config"] !== undefined) return OCI_MANIFEST;
  throw invalid("neither Content-Type nor mediaType tells what manifest this is");
}

function list(root: Json, field: string, required: boolean): unknown[] {
  const value = root[field];
  if (value === undefined || value === null) {
    if (required && value === undefined) throw invalid(`${field} is missing`);
    return [];
  }
  if (!Array.isArray(value)) throw invalid(`${field} is not a list`);
  if (value.length > MAX_DESCRIPTORS) throw invalid(`${field} has more than ${MAX_DESCRIPTORS} entries`);
  return value;
}

function descriptor(value: unknown, where: string): Descriptor {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw invalid(`${where} is not a descriptor`);
  const { mediaType, digest, size } = value as Json;
  if (typeof digest !== "string" || !isDigest(digest)) {
    throw invalid(`${where}.digest is not a supported digest`, { digest: typeof digest === "string" ? digest.slice(0, 200) : null });
  }
  if (!Number.isSafeInteger(size) || (size as number) < 0) throw invalid(`${where}.size is not a whole number of bytes`);
  if (typeof mediaType !== "string" || mediaType === "") throw invalid(`${where}.mediaType is missing`);
  if (!isMediaType(mediaType)) throw invalid(`${where}.mediaType is not a media type`);
  return { mediaType, digest, sizeBytes: size as number };
}

// No stricter than that it is printable ASCII: clients have pushed every spelling.
function isMediaType(text: string): boolean {
  return text.length <= MAX_MEDIA_TYPE_LENGTH && /^[\x20-\x7e]+$/.test(text);
}

function unique(descriptors: readonly Descriptor[]): Descriptor[] {
  return [...new Map(descriptors.map((d) => [d.digest, d])).values()];
}

function readAnnotations(root: Json): Record<string, string> {
  const value = root["annotations"];
  if (value === undefined || value === null) return {};
  if (typeof value !== "object" || Array.isArray(value)) throw invalid("annotations is not an object");
  for (const [key, text] of Object.entries(value)) {
    if (typeof text !== "string") throw invalid("annotation is not a string", { annotation: key.slice(0, 200) });
  }
  return value as Record<string, string>;
}

function optionalString(root: Json, field: string): string | undefined {
  const value = root[field];
  if (value === undefined || value === null) return undefined;
  if (typeof value !== "string") throw invalid(`${field} is not a string`);
  return value;
}

function invalid(message: string, detail?: unknown): RegistryError {
  return new RegistryError("MANIFEST_INVALID", { message: `manifest invalid: ${message}`, detail });
}
