// Writes images of every shape that registries meet as OCI layouts, one folder for each shape, and reads layouts back. Layers hold a few
// bytes in real tar archives, so that daemons can unpack them. Not here: pushing them.
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { mkdir, open, readFile, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { gzipSync, zstdCompressSync } from "node:zlib";
import { digestOf, digestsUnder } from "./content-walk.ts";

/** What names content in a manifest. Source: image-spec descriptor.md. */
export interface Descriptor {
  readonly mediaType: string;
  readonly digest: string;
  readonly size: number;
  readonly urls?: readonly string[];
  readonly platform?: { readonly os: string; readonly architecture: string; readonly variant?: string };
  readonly annotations?: Readonly<Record<string, string>>;
}

/** An OCI layout of one image or index, which is tagged `image` in it. */
export interface Layout {
  readonly folder: string;
  readonly root: Descriptor;
  /** The root's digest and that of everything under it, sorted; foreign layers are left out. */
  readonly content: readonly string[];
}

/** The tag that every layout has. */
export const LAYOUT_TAG = "image";

const OCI = "application/vnd.oci.image";
const DOCKER = "application/vnd.docker";
const MANIFEST = `${OCI}.manifest.v1+json`;
const INDEX = `${OCI}.index.v1+json`;
const DOCKER_MANIFEST = `${DOCKER}.distribution.manifest.v2+json`;
const DOCKER_LIST = `${DOCKER}.distribution.manifest.list.v2+json`;

/** A layer as it is sent, and the digest of its unpacked content. */
interface Layer {
  readonly descriptor: Descriptor;
  readonly diffId: string;
}

type Compression = "gzip" | "zstd" | "none";

/** The shapes, by name. Each takes an empty folder's writer and gives the root. */
const shapes = {
  gzip: (to) => imageOf(to, [tarLayer(to, "a", "gzip"), tarLayer(to, "b", "gzip")]),
  zstd: (to) => imageOf(to, [tarLayer(to, "a", "zstd"), tarLayer(to, "b", "zstd")]),
  uncompressed: (to) => imageOf(to, [tarLayer(to, "a", "none"), tarLayer(to, "b", "none")]),
  foreign: (to) => imageOf(to, [Promise.resolve(foreignLayer()), tarLayer(to, "a", "gzip")]),
  "hundred-layers": (to) =>
    imageOf(
      to,
      Array.from({ length: 100 }, (_, index) => tarLayer(to, `layer-${index}`, "gzip")),
    ),
  // The same empty archive twice: one digest, two layers.
  "empty-layers": (to) => imageOf(to, [emptyLayer(to), tarLayer(to, "a", "gzip"), emptyLayer(to)]),
  "no-layers": (to) => imageOf(to, []),
  index: async (to) => putIndex(to, await platformImages(to)),
  "nested-index": async (to) => {
    const inner = await putIndex(to, await platformImages(to));
    return putIndex(to, [inner, await imageOf(to, [tarLayer(to, "outer", "gzip")], "riscv64")]);
  },
  // As docker buildx writes provenance: a child of no platform that points at its image by annotation.
  attested: async (to) => {
    const image = await imageOf(to, [tarLayer(to, "a", "gzip")]);
    const statement = await to.put(
      Buffer.from('{"_type":"https://in-toto.io/Statement/v0.1","subject":[]}'),
      "application/vnd.in-toto+json",
    );
    const attestation = await imageOf(to, [Promise.resolve({ descriptor: statement, diffId: statement.digest })], "unknown", "unknown");
    const annotations = { "vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": image.digest };
    return putIndex(to, [image, { ...attestation, annotations }]);
  },
  wasm: async (to) => {
    const config = await to.put(Buffer.from('{"architecture":"wasm","os":"wasip1"}'), "application/vnd.wasm.config.v0+json");
    // The smallest module: its magic number and version.
    const layers = [await to.put(Buffer.from([0, 0x61, 0x73, 0x6d, 1, 0, 0, 0]), "application/wasm")];
    return to.put(json({ schemaVersion: 2, mediaType: MANIFEST, config, layers }), MANIFEST);
  },
  artifact: async (to) => {
    const config = await to.put(Buffer.from("{}"), "application/vnd.oci.empty.v1+json");
    const layers = [await to.put(Buffer.from("weights"), "application/vnd.example.model.weights")];
    const artifactType = "application/vnd.example.model";
    return to.put(
      json({ schemaVersion: 2, mediaType: MANIFEST, artifactType, config, layers, annotations: { "org.example": "yes" } }),
      MANIFEST,
    );
  },
  "docker-manifest": (to) => dockerImage(to, "amd64"),
  "docker-list": async (to) => {
    const manifests = [await dockerImage(to, "amd64"), await dockerImage(to, "arm64")];
    return to.put(json({ schemaVersion: 2, mediaType: DOCKER_LIST, manifests }), DOCKER_LIST);
  },
} satisfies Record<string, (to: Writer) => Promise<Descriptor>>;

/** The name of an image's shape. */
export type ShapeName = keyof typeof shapes;

/** Every shape's name. */
export const SHAPE_NAMES = Object.keys(shapes) as readonly ShapeName[];

/** Writes an image of that shape into a new folder. Its content depends on the shape and `seed` only. */
export async function writeImage(folder: string, shape: ShapeName, seed = ""): Promise<Layout> {
  return finish(await writerIn(folder, `${shape} ${seed}`), (to) => shapes[shape](to));
}

/** Writes an image with one uncompressed layer of about that size, all of it zero and sparse on disk, into a new folder. */
export async function writeHugeImage(folder: string, sizeBytes: number): Promise<Layout> {
  return finish(await writerIn(folder, ""), (to) => imageOf(to, [hugeLayer(to, sizeBytes)]));
}

/** Reads a layout that a client wrote: its only root, or the one tagged `image`, and all digests under it, every byte hashed. */
export async function readLayout(folder: string): Promise<Layout> {
  const { manifests } = JSON.parse(await readFile(join(folder, "index.json"), "utf8")) as { manifests: Descriptor[] };
  // Some clients name the children of an index beside it; others name only the root, and tag nothing.
  const tagged = manifests.filter((each) => each.annotations?.["org.opencontainers.image.ref.name"] === LAYOUT_TAG);
  const [root, ...others] = manifests.length === 1 ? manifests : tagged;
  if (root === undefined || others.length > 0) throw new Error(`${folder} has no single root: ${JSON.stringify(manifests)}`);
  const pathOf = (digest: string) => join(folder, "blobs", digest.replace(":", "/"));
  const content = await digestsUnder(root.digest, {
    manifest: (digest) => readFile(pathOf(digest)),
    blob: async (digest) => createReadStream(pathOf(digest)),
  });
  return { folder, root, content };
}

interface Writer {
  readonly folder: string;
  readonly seed: string;
  put(bytes: Uint8Array, mediaType: string): Promise<Descriptor>;
}

async function writerIn(folder: string, seed: string): Promise<Writer> {
  const blobs = join(folder, "blobs/sha256");
  await mkdir(blobs, { recursive: true });
  return {
    folder,
    seed,
    put: async (bytes, mediaType) => {
      const digest = digestOf(bytes);
      await writeFile(join(blobs, digest.slice("sha256:".length)), bytes);
      return { mediaType, digest, size: bytes.length };
    },
  };
}

async function finish(to: Writer, write: (to: Writer) => Promise<Descriptor>): Promise<Layout> {
  const { platform: _platform, ...root } = await write(to);
  const named = { ...root, annotations: { "org.opencontainers.image.ref.name": LAYOUT_TAG } };
  await writeFile(join(to.folder, "oci-layout"), '{"imageLayoutVersion":"1.0.0"}');
  await writeFile(join(to.folder, "index.json"), json({ schemaVersion: 2, mediaType: INDEX, manifests: [named] }));
  return readLayout(to.folder);
}

async function imageOf(to: Writer, pending: readonly Promise<Layer>[], architecture = "amd64", os = "linux"): Promise<Descriptor> {
  const layers = await Promise.all(pending);
  const config = await to.put(configOf(to, layers, architecture, os), `${OCI}.config.v1+json`);
  const body = { schemaVersion: 2, mediaType: MANIFEST, config, layers: layers.map((layer) => layer.descriptor) };
  return { ...(await to.put(json(body), MANIFEST)), platform: { architecture, os } };
}

async function dockerImage(to: Writer, architecture: string): Promise<Descriptor> {
  const layer = await tarLayer(to, architecture, "gzip");
  const config = await to.put(configOf(to, [layer], architecture, "linux"), `${DOCKER}.container.image.v1+json`);
  const layers = [{ ...layer.descriptor, mediaType: `${DOCKER}.image.rootfs.diff.tar.gzip` }];
  const body = { schemaVersion: 2, mediaType: DOCKER_MANIFEST, config, layers };
  return { ...(await to.put(json(body), DOCKER_MANIFEST)), platform: { architecture, os: "linux" } };
}

async function platformImages(to: Writer): Promise<Descriptor[]> {
  const architectures = ["amd64", "arm64", "s390x"];
  return Promise.all(architectures.map((each) => imageOf(to, [tarLayer(to, "shared", "gzip"), tarLayer(to, each, "gzip")], each)));
}

function putIndex(to: Writer, manifests: readonly Descriptor[]): Promise<Descriptor> {
  return to.put(json({ schemaVersion: 2, mediaType: INDEX, manifests }), INDEX);
}

async function tarLayer(to: Writer, name: string, compression: Compression): Promise<Layer> {
  const content = Buffer.from(`${name} ${to.seed}\n`);
  return putLayer(to, Buffer.concat([tarHeader(name, content.length), padded(content), tarEnd]), compression);
}

function emptyLayer(to: Writer): Promise<Layer> {
  return putLayer(to, tarEnd, "gzip");
}

async function putLayer(to: Writer, tar: Buffer, compression: Compression): Promise<Layer> {
  const bytes = compression === "gzip" ? gzipSync(tar) : compression === "zstd" ? zstdCompressSync(tar) : tar;
  const suffix = compression === "none" ? "" : `+${compression}`;
  return { descriptor: await to.put(bytes, `${OCI}.layer.v1.tar${suffix}`), diffId: digestOf(tar) };
}

/** A layer that is stored elsewhere, like the base layers of Windows images. Port 9 discards, so that nobody can have fetched it. */
function foreignLayer(): Layer {
  const tar = Buffer.concat([tarHeader("foreign", 0), tarEnd]);
  const bytes = gzipSync(tar);
  const mediaType = `${OCI}.layer.nondistributable.v1.tar+gzip`;
  return {
    descriptor: { mediaType, digest: digestOf(bytes), size: bytes.length, urls: ["http://127.0.0.1:9/foreign"] },
    diffId: digestOf(tar),
  };
}

async function hugeLayer(to: Writer, sizeBytes: number): Promise<Layer> {
  const parts = join(to.folder, "blobs/sha256");
  const pending = join(parts, "pending");
  const file = await open(pending, "wx");
  const header = tarHeader("zeros", sizeBytes);
  const size = header.length + sizeBytes + tarEnd.length;
  await file.write(header);
  await file.truncate(size);
  await file.close();
  const hash = createHash("sha256");
  for await (const piece of createReadStream(pending, { highWaterMark: 1024 * 1024 })) hash.update(piece as Buffer);
  const hex = hash.digest("hex");
  await rename(pending, join(parts, hex));
  const digest = `sha256:${hex}`;
  return { descriptor: { mediaType: `${OCI}.layer.v1.tar`, digest, size }, diffId: digest };
}

function configOf(to: Writer, layers: readonly Layer[], architecture: string, os: string): Buffer {
  const rootfs = { type: "layers", diff_ids: layers.map((layer) => layer.diffId) };
  return json({ created: "2026-01-01T00:00:00Z", architecture, os, config: { Labels: { of: to.seed } }, rootfs });
}

function json(value: unknown): Buffer {
  return Buffer.from(JSON.stringify(value));
}

// A tar archive is made of records of 512 bytes and ends in two empty ones. Source: POSIX.1-1988 ustar.
const RECORD = 512;
const tarEnd = Buffer.alloc(2 * RECORD);

function padded(content: Buffer): Buffer {
  return Buffer.concat([content, Buffer.alloc((RECORD - (content.length % RECORD)) % RECORD)]);
}

/** The record that announces one regular file. Numbers in it are octal text. */
function tarHeader(name: string, sizeBytes: number): Buffer {
  const octal = (value: number, width: number) => `${value.toString(8).padStart(width - 1, "0")}\0`;
  const header = Buffer.alloc(RECORD);
  header.write(name, 0);
  header.write(octal(0o755, 8) + octal(0, 8) + octal(0, 8) + octal(sizeBytes, 12) + octal(0, 12), 100);
  // The checksum counts its own eight bytes as spaces.
  header.write(`${" ".repeat(8)}0`, 148);
  header.write("ustar\x0000", 257);
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148);
  return header;
}
