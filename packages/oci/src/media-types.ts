// Known media types, and the shape of each manifest type. Any other type is stored unchanged.

export const OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json";
export const OCI_INDEX = "application/vnd.oci.image.index.v1+json";
export const DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json";
export const DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json";
export const OCI_EMPTY = "application/vnd.oci.empty.v1+json";
/** The artifact manifest of the withdrawn image-spec 1.1.0-rc2; old oras and notation clients still push it. */
export const OCI_ARTIFACT = "application/vnd.oci.artifact.manifest.v1+json";

/** How a manifest of a media type is read: by its layers, by its children, or by its blobs. */
export type ManifestShape = "image" | "index" | "artifact";

const SHAPES: Readonly<Record<string, ManifestShape>> = {
  [OCI_MANIFEST]: "image",
  [DOCKER_MANIFEST]: "image",
  [OCI_INDEX]: "index",
  [DOCKER_LIST]: "index",
  [OCI_ARTIFACT]: "artifact",
};

/** The shape of a manifest media type, or undefined for a type that is not a manifest's. */
export function shapeOf(mediaType: string): ManifestShape | undefined {
  return Object.hasOwn(SHAPES, mediaType) ? SHAPES[mediaType] : undefined;
}

// Layers whose bytes are at `urls` instead of in a registry. Source: image-spec, layer.md#non-distributable-layers
const NON_DISTRIBUTABLE =
  /^application\/vnd\.(?:oci\.image\.layer\.nondistributable\.v1\.tar(?:\+gzip|\+zstd)?|docker\.image\.rootfs\.foreign\.diff\.tar(?:\.gzip)?)$/;

/** Whether a layer of this type need not be in the registry. */
export function isNonDistributable(mediaType: string): boolean {
  return NON_DISTRIBUTABLE.test(mediaType);
}
