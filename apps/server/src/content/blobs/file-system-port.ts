// The few file system calls that the store needs, as promises over descriptors, and the meaning of their errors. Not here: retries and
// layout (filesystem.ts). Tests replace it with a failing file system.
import * as fs from "node:fs";
import { RegistryError } from "@berth/oci/errors";

/** The interface of a file system. Errors are those of `node:fs`, with their `code`. */
export interface FileSystemPort {
  open(path: string, flags: number, mode?: number): Promise<number>;
  close(fd: number): Promise<void>;
  read(fd: number, buffer: Uint8Array, offset: number, length: number, position: number): Promise<number>;
  write(fd: number, buffer: Uint8Array, offset: number, length: number, position: number): Promise<number>;
  /** Makes a file's content and length durable. */
  fdatasync(fd: number): Promise<void>;
  /** Makes a directory's entries durable. */
  fsync(fd: number): Promise<void>;
  fstat(fd: number): Promise<FileStat>;
  stat(path: string): Promise<FileStat>;
  readdir(path: string): Promise<string[]>;
  mkdir(path: string, mode: number): Promise<void>;
  rmdir(path: string): Promise<void>;
  rename(from: string, to: string): Promise<void>;
  /** Gives a file a second name; fails with EEXIST if that name exists. */
  link(from: string, to: string): Promise<void>;
  unlink(path: string): Promise<void>;
}

/** The part of a file's state that the store reads. */
export interface FileStat {
  readonly size: number;
  readonly mtimeMs: number;
  isFile(): boolean;
}

type Done<T> = (error: NodeJS.ErrnoException | null, value: T) => void;

function call<T = void>(run: (done: Done<T>) => void): Promise<T> {
  return new Promise((resolve, reject) => run((error, value) => (error === null ? resolve(value) : reject(error))));
}

/** The machine's own file system. It uses plain descriptors: a `FileHandle` costs twice as much for each small blob. */
export const machineFileSystem: FileSystemPort = {
  open: (path, flags, mode) => call((done) => fs.open(path, flags, mode, done)),
  close: (fd) => call((done) => fs.close(fd, done as Done<unknown> as fs.NoParamCallback)),
  read: (fd, buffer, offset, length, position) => call((done) => fs.read(fd, buffer, offset, length, position, done)),
  write: (fd, buffer, offset, length, position) => call((done) => fs.write(fd, buffer, offset, length, position, done)),
  fdatasync: (fd) => call((done) => fs.fdatasync(fd, done as fs.NoParamCallback)),
  fsync: (fd) => call((done) => fs.fsync(fd, done as fs.NoParamCallback)),
  fstat: (fd) => call<fs.Stats>((done) => fs.fstat(fd, done)),
  stat: (path) => call<fs.Stats>((done) => fs.stat(path, done)),
  readdir: (path) => call<string[]>((done) => fs.readdir(path, done)),
  mkdir: (path, mode) => call((done) => fs.mkdir(path, { mode }, done as fs.NoParamCallback)),
  rmdir: (path) => call((done) => fs.rmdir(path, done as fs.NoParamCallback)),
  rename: (from, to) => call((done) => fs.rename(from, to, done as fs.NoParamCallback)),
  link: (from, to) => call((done) => fs.link(from, to, done as fs.NoParamCallback)),
  unlink: (path) => call((done) => fs.unlink(path, done as fs.NoParamCallback)),
};

/** The `code` of a file system error, or undefined for other errors. */
export function failureCode(error: unknown): string | undefined {
  if (!(error instanceof Error) || !("code" in error) || !("syscall" in error)) return undefined;
  return typeof error.code === "string" ? error.code : undefined;
}

const FULL = new Set(["ENOSPC", "EDQUOT"]);
// The store exists but cannot be reached or used now: a server is down, a mount became read-only, too many files are open.
const UNREACHABLE = new Set(
  "EIO EROFS ETIMEDOUT EACCES EPERM EMFILE ENFILE ENOMEM ENODEV ENXIO ENOTCONN EHOSTDOWN EHOSTUNREACH ENETUNREACH ECONNREFUSED EREMOTEIO EAGAIN EINTR".split(
    " ",
  ),
);
// The store handles these codes first; where one gets past it, the tree itself is missing.
const TREE_GONE = new Set("ENOENT ENOTDIR ESTALE".split(" "));

function translated(error: unknown): unknown {
  const code = failureCode(error);
  if (code === undefined) return error;
  if (FULL.has(code)) return new RegistryError("STORAGE_FULL", { cause: error });
  if (UNREACHABLE.has(code)) return new RegistryError("UNAVAILABLE", { cause: error });
  return error;
}

/** Translates an error for a caller of the store: a missing tree is an unreachable store. */
export function outermostError(error: unknown): unknown {
  const code = failureCode(error);
  return code !== undefined && TREE_GONE.has(code) ? new RegistryError("UNAVAILABLE", { cause: error }) : error;
}

/**
 * The same file system, but failures that end a request become STORAGE_FULL and UNAVAILABLE where they happen, so that an error of the
 * caller's own body (a client's connection, say) is never taken for one of the store.
 */
export function translateFailures(port: FileSystemPort): FileSystemPort {
  const wrap =
    <A extends unknown[], R>(run: (...args: A) => Promise<R>) =>
    async (...args: A): Promise<R> => {
      try {
        return await run(...args);
      } catch (error) {
        throw translated(error);
      }
    };
  return {
    open: wrap(port.open),
    close: wrap(port.close),
    read: wrap(port.read),
    write: wrap(port.write),
    fdatasync: wrap(port.fdatasync),
    fsync: wrap(port.fsync),
    fstat: wrap(port.fstat),
    stat: wrap(port.stat),
    readdir: wrap(port.readdir),
    mkdir: wrap(port.mkdir),
    rmdir: wrap(port.rmdir),
    rename: wrap(port.rename),
    link: wrap(port.link),
    unlink: wrap(port.unlink),
  };
}
