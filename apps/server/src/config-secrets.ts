// Where secrets of the configuration come from: a text, a file, or a command such as one of Vault, sops or a cloud's KMS. Not here: their names
// (config-names.ts), which of several counts (config-load.ts).
import { exec } from "node:child_process";
import { open } from "node:fs/promises";
import { resolve } from "node:path";
import { promisify } from "node:util";
import type { RawValue } from "./config-file.ts";
import type { ParseContext } from "./config-kinds.ts";
import type { SecretSource } from "./config-names.ts";

/** What reads secrets. */
export interface SecretReaders {
  readonly context: ParseContext;
  /** Reads a small file as UTF-8. */
  readonly readFile: (path: string) => Promise<string>;
  /** Runs a command in a directory; gives what it prints. */
  readonly runCommand: (command: string, directory: string) => Promise<string>;
  readonly report: (source: string, message: string) => void;
}

/** A larger configuration or secret file is a mistake, such as a path to a disk image. */
const FILE_BYTES_MAX = 1024 * 1024;
/** A secret store that is asked over the network may have to be waited for; one that is down must not hold a start up for ever. */
const COMMAND_TIMEOUT_MS = 30_000;

/** The secret itself; undefined if there is none, which is reported. What a file or a command gives is never part of a report. */
export async function readSecretFrom(given: RawValue, from: SecretSource, readers: SecretReaders): Promise<RawValue | undefined> {
  if (from === "text") return given;
  const { source, raw: place } = given;
  if (place === "") return undefined;
  const { context, readFile, runCommand, report } = readers;
  try {
    if (typeof place !== "string") throw new TypeError(from === "File" ? "the path is not text" : "the command is not text");
    const text = await (from === "File" ? readFile(resolve(context.directory, place)) : runCommand(place, context.directory));
    // Editors and `echo` leave a newline at the end.
    const raw = text.trim();
    if (raw === "") throw new Error(from === "File" ? "the file is empty" : "the command printed nothing");
    return { raw, source };
  } catch (error) {
    report(source, `cannot be read: ${error instanceof Error ? error.message : String(error)}`);
    return undefined;
  }
}

/** Reads a file of at most 1 MiB. */
export async function readSmallFile(path: string): Promise<string> {
  await using file = await open(path, "r");
  const buffer = Buffer.alloc(FILE_BYTES_MAX + 1);
  let length = 0;
  for (;;) {
    const { bytesRead } = await file.read(buffer, length, buffer.length - length, null);
    if (bytesRead === 0) break;
    length += bytesRead;
    if (length > FILE_BYTES_MAX) throw new Error(`the file is larger than ${FILE_BYTES_MAX} bytes`);
  }
  return new TextDecoder("utf-8", { fatal: true }).decode(buffer.subarray(0, length));
}

/** Runs a command by the shell; gives what it prints. Errors say how it ended and never what it printed. */
export async function runShell(command: string, directory: string): Promise<string> {
  try {
    // What it writes to standard error is for the operator's eyes, and may be a question.
    const running = promisify(exec)(command, { cwd: directory, timeout: COMMAND_TIMEOUT_MS, maxBuffer: FILE_BYTES_MAX });
    running.child.stderr?.pipe(process.stderr);
    running.child.stdin?.end();
    return (await running).stdout;
  } catch (error) {
    const { code, killed, signal } = error as { readonly code?: unknown; readonly killed?: boolean; readonly signal?: string | null };
    if (code === "ERR_CHILD_PROCESS_STDIO_MAXBUFFER")
      throw new Error(`the command printed more than ${FILE_BYTES_MAX} bytes`, { cause: error });
    if (killed === true) throw new Error(`the command did not end within ${COMMAND_TIMEOUT_MS / 1000} s`, { cause: error });
    throw new Error(`the command ended with ${typeof code === "number" ? code : (signal ?? "an error")}`, { cause: error });
  }
}
