// Describes a manifest's bytes for people: pure. Every manifest was checked when it was pushed; other fields are shown as far as they have
// the right form. Not here: the repository's part of it (manifest-store.ts), the check (@berth/oci/manifest).
import type { ManifestView, TagView } from "@berth/api/manifests";
import { isObject, type Json } from "@berth/oci/descriptor";
import { namedBytes } from "@berth/oci/named-bytes";

type PlatformView = TagView["platforms"][number];
type DescriptorView = NonNullable<ManifestView["config"]>;

/** Layers, children and annotations that are shown of each manifest: further ones are only counted. */
export const MAX_SHOWN = 1000;

/** The content of a manifest. */
export interface DescribedManifest {
  readonly config: DescriptorView | null;
  readonly subject: DescriptorView | null;
  readonly layers: readonly DescriptorView[];
  readonly children: readonly (DescriptorView & { readonly platform: PlatformView | null })[];
  readonly annotations: readonly { readonly name: string; readonly value: string }[];
  readonly leftOut: number;
  /** Of config, layers and children, each digest once. */
  readonly namedBytes: number;
  /** The platforms of the children, each once, without the "unknown" of attestations. */
  readonly platforms: readonly PlatformView[];
}

/** Reads a manifest. */
export function describeManifest(bytes: Uint8Array): DescribedManifest {
  const root = parse(bytes);
  const config = descriptorOf(root["config"]);
  const layers = listOf(root["layers"] ?? root["blobs"]).flatMap((each) => descriptorOf(each) ?? []);
  const children = listOf(root["manifests"]).flatMap((each) => {
    const descriptor = descriptorOf(each);
    return descriptor === null ? [] : [{ ...descriptor, platform: platformOf((each as Json)["platform"]) }];
  });
  const annotations = Object.entries(isObject(root["annotations"]) ? root["annotations"] : {}).flatMap(([name, value]) =>
    typeof value === "string" ? [{ name, value }] : [],
  );
  const platforms = new Map(
    children.flatMap(({ platform }) =>
      platform === null || platform.os === "unknown" ? [] : [[JSON.stringify(platform), platform] as const],
    ),
  );
  const leftOut = [layers, children, annotations].reduce((sum, list) => sum + Math.max(0, list.length - MAX_SHOWN), 0);
  return {
    config,
    subject: descriptorOf(root["subject"]),
    layers: layers.slice(0, MAX_SHOWN),
    children: children.slice(0, MAX_SHOWN),
    annotations: annotations.slice(0, MAX_SHOWN),
    leftOut,
    namedBytes: namedBytes(root),
    platforms: [...platforms.values()],
  };
}

/** The platform in an image's config, or null for other configs. */
export function platformOfConfig(bytes: Uint8Array): PlatformView | null {
  return platformOf(parse(bytes));
}

function parse(bytes: Uint8Array): Json {
  try {
    const value: unknown = JSON.parse(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("utf8"));
    return isObject(value) ? value : {};
  } catch (error) {
    // A config may be of any form.
    if (error instanceof SyntaxError) return {};
    throw error;
  }
}

const listOf = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : []);
const textOf = (value: unknown): string | null => (typeof value === "string" && value !== "" ? value : null);

function descriptorOf(value: unknown): DescriptorView | null {
  if (!isObject(value)) return null;
  const { digest, mediaType, size } = value;
  if (typeof digest !== "string" || typeof mediaType !== "string" || !Number.isSafeInteger(size)) return null;
  return { digest, mediaType, sizeBytes: size as number };
}

function platformOf(value: unknown): PlatformView | null {
  if (!isObject(value)) return null;
  const os = textOf(value["os"]);
  const architecture = textOf(value["architecture"]);
  if (os === null || architecture === null) return null;
  return { os, architecture, variant: textOf(value["variant"]), osVersion: textOf(value["os.version"]) };
}
