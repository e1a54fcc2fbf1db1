// Blobs in a directory, local or NFS: segments while they are uploaded, one rename when they are complete, no locks. Not here: names
// (paths.ts), moving bytes (file-pieces.ts), the meaning of errors (file-system-port.ts).
import { constants } from "node:fs";
import { dirname } from "node:path";
import type { Digest } from "@berth/oci/digest";
import { RegistryError } from "@berth/oci/errors";
import type { AppendOptions, Appended, BlobStore, FinishOptions, Stored, StorageKey, UploadRecord } from "./blob-store.ts";
import { createBufferPool } from "./buffer-pool.ts";
import { createDirectorySync } from "./directory-syncs.ts";
import { emptyRecord, foldOf, recordOf, segmentsBetween, segmentsOf, sumOf, withOlderBytes, wrongSize, type Segment } from "./segments.ts";
import { listFiles } from "./file-lister.ts";
import { createFileReader } from "./file-reader.ts";
import { createFileSweeper } from "./file-sweeper.ts";
import { writeBody } from "./file-pieces.ts";
import { failureCode, machineFileSystem, outermostError, translateFailures, type FileSystemPort } from "./file-system-port.ts";
import { PartialDeletion } from "./partial-deletion.ts";
import {
  blobDirectories,
  blobPath,
  blobsDirectory,
  checkUploadId,
  createNames,
  decodeMark,
  encodeMark,
  fileKey,
  markerPath,
  markPath,
  newMarkPath,
  probePath,
  segmentPath,
  uploadDirectory,
  uploadsDirectory,
} from "./paths.ts";

const { O_RDWR, O_WRONLY, O_CREAT, O_EXCL } = constants;
// Group-readable for backups; never world-readable.
const FILE_MODE = 0o640;
const DIRECTORY_MODE = 0o750;
// 16 MiB: two buffers each for eight streams; further streams allocate theirs and drop them.
const KEPT_BUFFERS = 16;
/** Larger than any mark. */
const MARK_BYTES_MAX = 1024;
// Twice the usual four threads of the pool: enough to keep it busy, few enough to leave room for reads.
const PARALLEL_UNLINKS = 8;

/** The options of a file system store. */
export interface FilesystemStoreOptions {
  /** A directory on one volume. It is created at the very first write; after that a missing tree is a missing mount, and is never created. */
  readonly root: string;
  /** Unique among all processes that ever write to `root`: `a-z0-9-`, at most 64 characters. */
  readonly processId: string;
  /**
   * Whether nothing was ever stored here, so that a missing tree is created. If it is not given, that is always done: for an empty
   * directory, and for tests.
   */
  readonly isNew?: (() => Promise<boolean>) | undefined;
  /** The file system to use; tests pass a failing one. */
  readonly fs?: FileSystemPort | undefined;
}

/** A segment being written. */
interface OpenSegment {
  readonly name: string;
  readonly path: string;
  readonly fd: number;
  isOpen: boolean;
}

/** Creates a store over a directory, which is not touched before its first use. */
export function createFilesystemStore(options: FilesystemStoreOptions): BlobStore {
  const { root, processId, isNew = async () => true, fs: port = machineFileSystem } = options;
  const fs = translateFailures(port);
  const names = createNames(processId);
  const pool = createBufferPool(KEPT_BUFFERS);
  const syncDirectory = createDirectorySync(fs);
  const reader = createFileReader(fs, pool, blobsDirectory(root));
  const sweeper = createFileSweeper(fs, root);
  const ready = new Map<string, Promise<void>>();

  /** Runs something once; a failed run is repeated by the next call. */
  function once(name: string, run: () => Promise<void>): Promise<void> {
    let started = ready.get(name);
    if (started === undefined) {
      started = run();
      ready.set(name, started);
      started.catch(() => ready.delete(name));
    }
    return started;
  }

  async function makeDirectory(path: string): Promise<void> {
    try {
      await fs.mkdir(path, DIRECTORY_MODE);
    } catch (error) {
      if (failureCode(error) !== "EEXIST") throw error;
    }
  }

  async function makeRoot(path: string): Promise<void> {
    try {
      await makeDirectory(path);
    } catch (error) {
      if (failureCode(error) !== "ENOENT" || dirname(path) === path) throw error;
      await makeRoot(dirname(path));
      await makeDirectory(path);
    }
    // Every blob depends on the entry of the root directory as much as on its own.
    await syncParent(path);
  }

  async function syncParent(path: string): Promise<void> {
    try {
      await syncDirectory(dirname(path));
    } catch (error) {
      // A parent directory that we may not even read was not created by us: its entry is older.
      if (failureCode(error instanceof RegistryError ? error.cause : error) !== "EACCES") throw error;
    }
  }

  /** A tree created in the place of an unmounted disk would make every blob seem lost, and hide the disk's content once it is mounted. */
  async function refuseLostTree(): Promise<void> {
    try {
      await fs.stat(blobsDirectory(root));
    } catch (error) {
      if (failureCode(error) !== "ENOENT" || (await isNew())) return;
      const what = `${root} holds no store, and there was one: is the disk mounted? If all is lost, run \`berth-server store adopt\` and push again`;
      throw new RegistryError("UNAVAILABLE", { cause: new Error(what) });
    }
  }

  async function makeNewTree(): Promise<void> {
    await makeRoot(root);
    await makeDirectory(uploadsDirectory(root));
    await makeDirectory(blobsDirectory(root));
    await syncDirectory(root);
  }

  const makeTree = (): Promise<void> =>
    once("tree", async () => {
      await refuseLostTree();
      await makeNewTree();
    });

  /** Makes the directory of a digest's files and its parents durable, once for each: there are at most 512. */
  const makeBlobDirectory = (digest: Digest): Promise<void> => {
    const [blobs, algorithm, shard] = blobDirectories(root, digest);
    return once(shard, async () => {
      await makeTree();
      await makeDirectory(algorithm);
      await syncDirectory(blobs);
      await makeDirectory(shard);
      await syncDirectory(algorithm);
    });
  };

  async function createSegment(uploadId: string): Promise<OpenSegment> {
    await makeTree();
    await makeDirectory(uploadDirectory(root, uploadId));
    const name = names.next();
    const path = segmentPath(root, uploadId, name);
    return { name, path, fd: await fs.open(path, O_RDWR | O_CREAT | O_EXCL, FILE_MODE), isOpen: true };
  }

  /** Removes a file, or an empty directory in its place; false if there was none. */
  async function removeIfThere(path: string): Promise<boolean> {
    try {
      await fs.unlink(path);
      return true;
    } catch (error) {
      const code = failureCode(error);
      if (code !== "ENOENT" && code !== "EISDIR") throw error;
      if (code === "EISDIR") await fs.rmdir(path);
      return code === "EISDIR";
    }
  }

  async function openOrGone(path: string, flags: number): Promise<number> {
    try {
      return await fs.open(path, flags);
    } catch (error) {
      if (failureCode(error) !== "ENOENT") throw error;
      throw new RegistryError("BLOB_UPLOAD_UNKNOWN", { cause: error });
    }
  }

  /** The content of segments, in order. Errors: BLOB_UPLOAD_UNKNOWN if one is missing, BLOB_UPLOAD_INVALID if it is truncated. */
  async function* readSegments(uploadId: string, segments: readonly Segment[]): AsyncGenerator<Uint8Array, void, void> {
    for (const segment of segments) {
      const fd = await openOrGone(segmentPath(root, uploadId, segment.name), constants.O_RDONLY);
      try {
        const { size } = await fs.fstat(fd);
        if (size !== segment.sizeBytes) throw wrongSize(size, segment.sizeBytes);
        yield* reader.readOpen(fd, 0, segment.sizeBytes - 1);
      } finally {
        await fs.close(fd);
      }
    }
  }

  async function append(
    uploadId: string,
    record: UploadRecord,
    body: AsyncIterable<Uint8Array>,
    options: AppendOptions,
  ): Promise<Appended> {
    const { segments, superseded } = segmentsOf(record);
    if (sumOf(segments) !== options.offsetBytes) throw new Error("the upload's record and its offset differ");
    const { kept, folded } = foldOf(segments, options.expectedBytes);
    let open: OpenSegment | undefined;
    const target = async (): Promise<number> => (open = await createSegment(uploadId)).fd;
    let sizeBytes: number;
    try {
      sizeBytes =
        folded.length === 0
          ? await writeBody(fs, pool, target, body, options.onBytes)
          : await writeBody(
              fs,
              pool,
              target,
              withOlderBytes(() => readSegments(uploadId, folded), body, options.onBytes),
              () => undefined,
            );
      if (open === undefined) return { record, writtenBytes: 0 };
      const { fd } = open;
      open.isOpen = false;
      // NFS reports a full or failed server here at the latest, and other hosts see the bytes only after this.
      await fs.close(fd);
    } catch (error) {
      if (open !== undefined) await undo(uploadId, open);
      throw error;
    }
    // Nobody needs these any more: the record that names them was replaced by the given one.
    for (const { name } of superseded) await removeIfThere(segmentPath(root, uploadId, name));
    const segment: Segment = { name: open.name, sizeBytes, isFirst: kept.length === 0 };
    return { record: recordOf({ segments: [...kept, segment], superseded: folded }), writtenBytes: sizeBytes - sumOf(folded) };
  }

  /**
   * Removes a segment that no record will name. Its own errors are not reported, only the error before: `abort` and `sweep` find in the
   * upload's directory what stays.
   */
  async function undo(uploadId: string, segment: OpenSegment): Promise<void> {
    const ignore = (): undefined => undefined;
    if (segment.isOpen) await fs.close(segment.fd).catch(ignore);
    await removeIfThere(segment.path).catch(ignore);
    // This fails if other segments are there, as it should.
    await fs.rmdir(uploadDirectory(root, uploadId)).catch(ignore);
  }

  async function finish(uploadId: string, record: UploadRecord, options: FinishOptions): Promise<Stored> {
    const { sizeBytes, digest } = options;
    const { segments } = segmentsOf(record);
    if (sumOf(segments) !== sizeBytes) throw wrongSize(sumOf(segments), sizeBytes);
    const only = segments.length === 1 ? segments[0] : undefined;
    const name = only === undefined ? await concatenate(uploadId, segments, options) : only.name;
    const source = segmentPath(root, uploadId, name);
    const key = fileKey(digest, uploadId, name);
    const final = blobPath(root, key);
    const shard = dirname(final);
    if (only !== undefined && !(await verifySegment(source, only, options))) {
      // An earlier call got as far as the rename: its bytes are durable, but perhaps not its directory entry.
      if ((await reader.stat(final))?.size !== sizeBytes) throw new RegistryError("BLOB_UPLOAD_UNKNOWN");
      if (options.onBytes !== undefined) for await (const piece of reader.read(final, 0, sizeBytes - 1)) options.onBytes(piece);
      await syncDirectory(shard);
      return { key, sizeBytes };
    }
    // If a crash comes before the database's commit, `abort` learns from the marker which file to delete. The marker is not synced by
    // itself: journalling file systems keep the order of this and the rename, and elsewhere a power cut costs one orphaned file at worst.
    await fs.close(await fs.open(markerPath(root, uploadId, digest, name), O_WRONLY | O_CREAT, FILE_MODE));
    await makeBlobDirectory(digest);
    try {
      await fs.rename(source, final);
    } catch (error) {
      // On NFS the answer to the first try may be lost; the second try then finds the file already in its new place.
      const code = failureCode(error);
      if ((code !== "ENOENT" && code !== "EEXIST") || (await reader.stat(final))?.size !== sizeBytes) {
        ready.delete(shard);
        throw error;
      }
    }
    await syncDirectory(shard);
    return { key, sizeBytes };
  }

  /** Removes everything known of an upload: blobs that it became, unless they are to be kept, then its directory. */
  async function clear(uploadId: string, isKept: (key: StorageKey) => boolean | Promise<boolean>): Promise<void> {
    const unkept: StorageKey[] = [];
    for (const key of await sweeper.finishedKeys(uploadId)) if (!(await isKept(key))) unkept.push(key);
    await removeBlobs(unkept);
    // The directory is removed last, because only the markers in it name those files.
    await sweeper.removeUpload(uploadId);
  }

  /** Makes an upload's only segment durable and reads it if requested; false if it is missing. */
  async function verifySegment(path: string, segment: Segment, options: FinishOptions): Promise<boolean> {
    let fd: number;
    try {
      fd = await fs.open(path, O_RDWR);
    } catch (error) {
      if (failureCode(error) === "ENOENT") return false;
      throw error;
    }
    try {
      const { size } = await fs.fstat(fd);
      if (size !== segment.sizeBytes) throw wrongSize(size, segment.sizeBytes);
      if (options.onBytes !== undefined) {
        for await (const piece of reader.readOpen(fd, 0, segment.sizeBytes - 1)) options.onBytes(piece);
      }
      await fs.fdatasync(fd);
      return true;
    } finally {
      await fs.close(fd);
    }
  }

  /** Copies all segments into a new one, durably, and returns its name. The originals stay until `removeLeftovers` for repeated calls. */
  async function concatenate(uploadId: string, segments: readonly Segment[], options: FinishOptions): Promise<string> {
    const whole = await createSegment(uploadId);
    try {
      await writeBody(fs, pool, async () => whole.fd, readSegments(uploadId, segments), options.onBytes ?? (() => undefined));
      await fs.fdatasync(whole.fd);
      whole.isOpen = false;
      await fs.close(whole.fd);
    } catch (error) {
      await undo(uploadId, whole);
      throw error;
    }
    return whole.name;
  }

  async function removeBlobs(keys: readonly StorageKey[]): Promise<void> {
    const queue = keys.values();
    const kept = new Map<StorageKey, unknown>();
    const byDirectory = Map.groupBy(keys, (key) => dirname(blobPath(root, key)));
    let isAnyMissing = false;
    const unlinking = async (): Promise<void> => {
      for (const key of queue) {
        try {
          if (!(await removeIfThere(blobPath(root, key)))) isAnyMissing = true;
        } catch (error) {
          kept.set(key, error);
        }
      }
    };
    await Promise.all(Array.from({ length: PARALLEL_UNLINKS }, unlinking));
    // Without its mount every file seems to be deleted, but would come back with the mount.
    if (isAnyMissing) await reader.requireTree();
    const syncing = [...byDirectory].map(async ([directory, inDirectory]) => {
      try {
        await syncDirectory(directory);
      } catch (error) {
        if (failureCode(error) !== "ENOENT") for (const key of inDirectory) kept.set(key, error);
      }
    });
    await Promise.all(syncing);
    if (kept.size > 0) throw new PartialDeletion(kept.keys(), kept.values().next().value);
  }

  async function readMark(): Promise<string | undefined> {
    let fd: number;
    try {
      fd = await fs.open(markPath(root), constants.O_RDONLY);
    } catch (error) {
      if (failureCode(error) !== "ENOENT") throw error;
      await refuseLostTree();
      return undefined;
    }
    try {
      const bytes = Buffer.alloc(MARK_BYTES_MAX);
      return decodeMark(bytes.toString("utf8", 0, await fs.read(fd, bytes, 0, bytes.length, 0)));
    } finally {
      await fs.close(fd);
    }
  }

  async function putMark(id: string, { replaces }: { readonly replaces?: string } = {}): Promise<string> {
    if (replaces === undefined) await makeTree();
    else await makeNewTree();
    const path = newMarkPath(root, names.next());
    const bytes = Buffer.from(encodeMark(id));
    const fd = await fs.open(path, O_WRONLY | O_CREAT | O_EXCL, FILE_MODE);
    try {
      await fs.write(fd, bytes, 0, bytes.length, 0);
      await fs.fdatasync(fd);
    } finally {
      await fs.close(fd);
    }
    // A link instead of a rename: when two processes mark at once, the second one fails and sees the first one's mark.
    try {
      if (replaces !== undefined && (await readMark()) === replaces) await fs.rename(path, markPath(root));
      else await fs.link(path, markPath(root));
    } catch (error) {
      // Another process was faster, or the file system does not support links.
      if (failureCode(error) !== "EEXIST" && (await readMark()) === undefined) await fs.rename(path, markPath(root));
    } finally {
      await removeIfThere(path);
    }
    await syncDirectory(root);
    return (await readMark()) ?? id;
  }

  async function probe(): Promise<void> {
    await makeTree();
    const path = probePath(root, names.next());
    const wrote = Buffer.from(path);
    const fd = await fs.open(path, O_RDWR | O_CREAT | O_EXCL, FILE_MODE);
    try {
      await fs.write(fd, wrote, 0, wrote.length, 0);
      await fs.fdatasync(fd);
      const back = Buffer.alloc(wrote.length);
      await fs.read(fd, back, 0, back.length, 0);
      if (!back.equals(wrote)) throw new RegistryError("UNAVAILABLE", { cause: new Error(`${path} read back differently`) });
    } finally {
      await fs.close(fd);
      await removeIfThere(path);
    }
  }

  return {
    kind: "filesystem",
    begin: (uploadId) => {
      checkUploadId(uploadId);
      return emptyRecord();
    },
    append: (...args) => outermost(append(...args)),
    finish: (...args) => outermost(finish(...args)),
    undoAppend: async (uploadId, from, to) => {
      for (const { name } of segmentsBetween(from, to)) await removeIfThere(segmentPath(root, uploadId, name));
    },
    removeLeftovers: (uploadId, _record, key) => outermost(clear(uploadId, (other) => other === key)),
    // A single segment becomes the blob by renaming; several are copied into one, again at each call of `finish`.
    isAlone: (_uploadId, record) => segmentsOf(record).segments.length === 1,
    abort: (uploadId, _record, bound) => outermost(clear(uploadId, bound)),
    stat: async (key) => {
      const found = await outermost(reader.stat(blobPath(root, key)));
      return found === undefined ? undefined : { sizeBytes: found.size };
    },
    read: (key, start, end, sizeBytes) => reader.read(blobPath(root, key), start, end, sizeBytes),
    signedUrl: async () => undefined,
    list: (startAfter) => listFiles(fs, root, startAfter),
    delete: (keys) => outermost(removeBlobs(keys)),
    sweep: (olderThan) => outermost(sweeper.sweep(olderThan)),
    readMark: () => outermost(readMark()),
    putMark: (...args) => outermost(putMark(...args)),
    probe: () => outermost(probe()),
    close: async () => undefined,
  };
}

async function outermost<T>(work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    throw outermostError(error);
  }
}
