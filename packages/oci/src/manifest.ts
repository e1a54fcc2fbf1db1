// Parses a manifest's bytes into what the registry must know: which blobs, children and subject it names.
// Not here: whether these exist (distribution/push.ts), and any judgement of the image's content.
import { type Descriptor, invalid, isAbsent, isMediaType, isObject, type Json, readAnnotations, readDescriptor } from "./descriptor.ts";
import type { Digest } from "./digest.ts";
import { RegistryError } from "./errors.ts";
import { findAmbiguity } from "./manifest-text.ts";
import { namedBytes } from "./named-bytes.ts";
import { namedDigests } from "./named-digests.ts";
import { isNonDistributable, OCI_INDEX, OCI_MANIFEST, shapeOf, type ManifestShape } from "./media-types.ts";

/** What the registry stores of a manifest besides its bytes. */
export interface ParsedManifest {
  readonly shape: ManifestShape;
  readonly mediaType: string;
  /** `artifactType`, else the config's media type for an image manifest. Referrers are filtered by it. */
  readonly artifactType: string | undefined;
  readonly config: Descriptor | undefined;
  /** Config and layers that must be in the repository; non-distributable ones with `urls` are excluded. Unique by digest. */
  readonly blobs: readonly Descriptor[];
  /**
   * All other digests in any field except annotations: index entries, the subject, layers stored elsewhere, unknown fields. They may be
   * missing; it is not known which of them are blobs and which manifests.
   */
  readonly alsoNamed: readonly Digest[];
  /** Manifests that an index names; they may be missing (sparse index). Unique by digest. */
  readonly children: readonly Descriptor[];
  readonly subject: Descriptor | undefined;
  readonly annotations: Readonly<Record<string, string>>;
  /** Of config, layers and children as it says them, each once. */
  readonly namedBytes: number;
}

/** The most descriptors in one manifest. 4 MiB of JSON could name 20,000; real images stay under 200, big indexes under 1,000. */
export const MAX_DESCRIPTORS = 10_000;
/** The most digests in one manifest: a full list, config, subject, and some in unknown fields. Each is a row of the database. */
export const MAX_DIGESTS = MAX_DESCRIPTORS + 2000;
/** Fields that a manifest of each shape must not have: a client that reads the other shape would see another image. Source: CVE-2021-41190. */
const FOREIGN_FIELDS: Readonly<Record<ManifestShape, readonly string[]>> = {
  image: ["manifests", "blobs", "fsLayers", "history", "signatures"],
  index: ["config", "layers", "blobs", "fsLayers", "history", "signatures"],
  artifact: ["config", "layers", "manifests", "fsLayers", "history", "signatures"],
};

/**
 * Parses and checks a manifest. `contentType` is the request's Content-Type, or undefined if the body must say it.
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
  // Artifact manifests have no schemaVersion.
  if (root["schemaVersion"] !== 2 && !(shape === "artifact" && isAbsent(root["schemaVersion"]))) {
    throw invalid("schemaVersion must be 2", { schemaVersion: root["schemaVersion"] });
  }
  for (const field of FOREIGN_FIELDS[shape]) {
    if (Object.hasOwn(root, field)) throw invalid(`${shape === "image" ? "an image" : `an ${shape}`} must not have ${field}`);
  }
  const annotations = readAnnotations(root["annotations"]);
  const subject = isAbsent(root["subject"]) ? undefined : readDescriptor(root["subject"], "subject");
  const artifactType = optionalString(root, "artifactType") || undefined;
  // Referrers are looked up by it: a database's index takes neither long texts nor NUL.
  if (artifactType !== undefined && !isMediaType(artifactType)) throw invalid("artifactType is not a media type");
  if (shape === "index") {
    return {
      shape,
      mediaType,
      artifactType,
      config: undefined,
      blobs: [],
      alsoNamed: othersOf(root, []),
      children: unique(list(root, "manifests", true).map((d, i) => readDescriptor(d, `manifests[${i}]`))),
      subject,
      annotations,
      namedBytes: namedBytes(root),
    };
  }
  const config = shape === "image" ? readDescriptor(root["config"], "config") : undefined;
  const field = shape === "image" ? "layers" : "blobs";
  const layers = list(root, field, shape === "image").flatMap((value, i) => {
    const layer = readDescriptor(value, `${field}[${i}]`);
    const elsewhere = Array.isArray((value as Json)["urls"]) && ((value as Json)["urls"] as unknown[]).length > 0;
    return isNonDistributable(layer.mediaType) || elsewhere ? [] : [layer];
  });
  const blobs = unique(config === undefined ? layers : [config, ...layers]);
  return {
    shape,
    mediaType,
    artifactType: artifactType ?? config?.mediaType,
    config,
    blobs,
    alsoNamed: othersOf(root, blobs),
    children: [],
    subject,
    annotations,
    namedBytes: namedBytes(root),
  };
}

function parseJson(bytes: Uint8Array): Json {
  let value: unknown;
  try {
    const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
    const ambiguity = findAmbiguity(text);
    if (ambiguity !== undefined) throw invalid(ambiguity);
    value = JSON.parse(text);
  } catch (cause) {
    if (cause instanceof RegistryError) throw cause;
    throw new RegistryError("MANIFEST_INVALID", { message: "manifest is not JSON in UTF-8", cause });
  }
  if (!isObject(value)) throw invalid("it is not a JSON object");
  return value;
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

/** The digests that the manifest names besides the required blobs. */
function othersOf(root: Json, blobs: readonly Descriptor[]): Digest[] {
  const named = namedDigests(root);
  if (named.size > MAX_DIGESTS) throw invalid(`it names more than ${MAX_DIGESTS} digests`);
  for (const { digest } of blobs) named.delete(digest);
  return [...named];
}

function unique(descriptors: readonly Descriptor[]): Descriptor[] {
  const byDigest = new Map<Digest, Descriptor>();
  for (const each of descriptors) {
    const known = byDigest.get(each.digest);
    if (known === undefined) byDigest.set(each.digest, each);
    else if (known.sizeBytes !== each.sizeBytes) throw invalid("a digest is named with two sizes", { digest: each.digest });
  }
  return [...byDigest.values()];
}

function optionalString(root: Json, field: string): string | undefined {
  const value = root[field];
  if (value === undefined || value === null) return undefined;
  if (typeof value !== "string") throw invalid(`${field} is not a string`);
  return value;
}
