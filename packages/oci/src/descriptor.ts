// Parses a descriptor of a manifest, including the fields that readers of every language must be able to parse. Not here: the descriptors
// of each manifest type (manifest.ts), checks of the text alone (manifest-text.ts).
import { algorithmOf, digestOf, isDigest, type Digest } from "./digest.ts";
import { RegistryError } from "./errors.ts";

/** A content descriptor. Source: image-spec, descriptor.md */
export interface Descriptor {
  readonly mediaType: string;
  readonly digest: Digest;
  readonly sizeBytes: number;
}

/** Longest media type. Source: RFC 6838, section 4.2: 127 characters on either side of the slash. */
const MAX_MEDIA_TYPE_LENGTH = 255;

/** A JSON object. */
export type Json = Record<string, unknown>;

/** The refusal of a manifest. */
export function invalid(message: string, detail?: unknown): RegistryError {
  return new RegistryError("MANIFEST_INVALID", { message: `manifest invalid: ${message}`, detail });
}

/** Parses a descriptor; `where` names it in errors. Errors: MANIFEST_INVALID. */
export function readDescriptor(value: unknown, where: string): Descriptor {
  if (!isObject(value)) throw invalid(`${where} is not a descriptor`);
  const { mediaType, digest, size, urls, annotations, data, artifactType, platform } = value;
  if (typeof digest !== "string" || !isDigest(digest)) {
    throw invalid(`${where}.digest is not a supported digest`, { digest: typeof digest === "string" ? digest.slice(0, 200) : null });
  }
  if (!Number.isSafeInteger(size) || (size as number) < 0) throw invalid(`${where}.size is not a whole number of bytes`);
  if (typeof mediaType !== "string" || mediaType === "") throw invalid(`${where}.mediaType is missing`);
  if (!isMediaType(mediaType)) throw invalid(`${where}.mediaType is not a media type`);
  // Typed readers fail on the whole manifest if one of these fields has another type: nobody could pull it.
  if (!isAbsent(urls) && !isTexts(urls)) throw invalid(`${where}.urls is not a list of texts`);
  if (!isAbsent(artifactType) && typeof artifactType !== "string") throw invalid(`${where}.artifactType is not a text`);
  readAnnotations(annotations, `${where}.annotations`);
  if (!isAbsent(platform)) checkPlatform(platform, `${where}.platform`);
  const descriptor = { mediaType, digest, sizeBytes: size as number };
  if (!isAbsent(data)) checkData(data, descriptor, `${where}.data`);
  return descriptor;
}

/** Parses annotations; none if the field is absent. Errors: MANIFEST_INVALID. */
export function readAnnotations(value: unknown, where = "annotations"): Readonly<Record<string, string>> {
  if (isAbsent(value)) return {};
  if (!isObject(value)) throw invalid(`${where} is not an object`);
  for (const key in value) {
    if (typeof value[key] !== "string") throw invalid(`${where} holds what is not a text`, { annotation: key.slice(0, 200) });
  }
  return value as Record<string, string>;
}

/** It only requires printable ASCII: clients have pushed every spelling. */
export function isMediaType(text: string): boolean {
  return text.length <= MAX_MEDIA_TYPE_LENGTH && /^[\x20-\x7e]+$/.test(text);
}

/** A field that is null counts as absent, as it does for readers in Go. */
export function isAbsent(value: unknown): value is undefined | null {
  return value === undefined || value === null;
}

/** Whether a value is a JSON object. */
export function isObject(value: unknown): value is Json {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isTexts(value: unknown): value is string[] {
  return Array.isArray(value) && value.every((each) => typeof each === "string");
}

function checkPlatform(platform: unknown, where: string): void {
  if (!isObject(platform)) throw invalid(`${where} is not an object`);
  for (const key of ["architecture", "os", "os.version", "variant"]) {
    const value = platform[key];
    if (!isAbsent(value) && typeof value !== "string") throw invalid(`${where}.${key} is not a text`);
  }
  for (const key of ["os.features", "features"]) {
    const value = platform[key];
    if (!isAbsent(value) && !isTexts(value)) throw invalid(`${where}.${key} is not a list of texts`);
  }
}

/**
 * Content inside the descriptor itself: a client that reads it there must see the same as one that pulls it. Source: image-spec,
 * descriptor.md, `data`.
 */
function checkData(data: unknown, { digest, sizeBytes }: Descriptor, where: string): void {
  if (typeof data !== "string" || !isBase64(data)) throw invalid(`${where} is not base64`);
  const bytes = Buffer.from(data, "base64");
  if (bytes.length !== sizeBytes) throw invalid(`${where} is ${bytes.length} bytes, not the descriptor's ${sizeBytes}`);
  if (digestOf(bytes, algorithmOf(digest)) !== digest) throw invalid(`${where} is not what the descriptor's digest names`);
}

/** As Go decodes it: whole groups of four, line breaks ignored. */
function isBase64(text: string): boolean {
  const groups = text.replaceAll(/[\r\n]/g, "");
  return groups.length % 4 === 0 && /^[A-Za-z0-9+/]*={0,2}$/.test(groups);
}
