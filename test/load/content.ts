// Unique content: blobs with their digests, and small images made of them. No I/O.
import { hash, randomBytes } from "node:crypto";

/** A blob: its digest, and its bytes in parts that are sent one after the other. */
export interface Content {
  readonly digest: string;
  readonly size: number;
  readonly parts: readonly Buffer[];
}

/** An image of one config and one layer, both unique. */
export interface Image {
  readonly config: Content;
  readonly layer: Content;
  readonly manifest: Content;
}

export const manifestMediaType = "application/vnd.oci.image.manifest.v1+json";
const configMediaType = "application/vnd.oci.image.config.v1+json";
const layerMediaType = "application/vnd.oci.image.layer.v1.tar+gzip";

/** Bytes of a blob that differ from every other's; the rest is shared, so that gigabytes cost no memory. */
const uniqueBytes = 32;

/** Makes blobs of up to `largest` bytes: random, so that nothing compresses; unique from their first bytes. */
export function createContentSource(largest: number): (size: number) => Content {
  const shared = randomBytes(largest);
  return (size) => {
    const head = randomBytes(Math.min(uniqueBytes, size));
    return contentOf(size <= uniqueBytes ? [head] : [head, shared.subarray(0, size - uniqueBytes)]);
  };
}

/** Names given bytes by their digest. */
export function contentOf(parts: readonly Buffer[]): Content {
  const size = parts.reduce((sum, part) => sum + part.length, 0);
  // Joining costs a copy, but `hash` of one buffer is several times quicker than a Hash object for small ones.
  const digest = `sha256:${hash("sha256", parts.length === 1 && parts[0] ? parts[0] : Buffer.concat(parts), "hex")}`;
  return { digest, size, parts };
}

/** An image around a given layer; its config is unique because it names the layer's digest. */
export function imageOf(layer: Content): Image {
  const config = jsonContent({
    architecture: "amd64",
    os: "linux",
    config: { Cmd: ["/bin/sh"] },
    rootfs: { type: "layers", diff_ids: [layer.digest] },
  });
  const manifest = jsonContent({
    schemaVersion: 2,
    mediaType: manifestMediaType,
    config: { mediaType: configMediaType, digest: config.digest, size: config.size },
    layers: [{ mediaType: layerMediaType, digest: layer.digest, size: layer.size }],
  });
  return { config, layer, manifest };
}

/** The blob `{}` that stands where a manifest needs a config or layer without having one. Source: image-spec. */
export const emptyBlob: Content = contentOf([Buffer.from("{}")]);

const emptyDescriptor = {
  mediaType: "application/vnd.oci.empty.v1+json",
  digest: emptyBlob.digest,
  size: emptyBlob.size,
};

/** A manifest that needs nothing but the empty blob; `note` makes it unique, `subject` makes it a referrer. */
export function artifactManifest(note: string, subject?: Content): Content {
  return jsonContent({
    schemaVersion: 2,
    mediaType: manifestMediaType,
    artifactType: "application/vnd.example.bench",
    config: emptyDescriptor,
    layers: [emptyDescriptor],
    ...(subject && {
      subject: { mediaType: manifestMediaType, digest: subject.digest, size: subject.size },
    }),
    annotations: { "org.example.note": note },
  });
}

function jsonContent(value: unknown): Content {
  return contentOf([Buffer.from(JSON.stringify(value))]);
}
