// The program's input, output and environment as parameters, so that tests can replace them. Not here: formatting (print.ts).
import type { Readable, Writable } from "node:stream";

/** Standard input, which may be a terminal. */
export type Input = Readable & { readonly isTTY?: boolean; setRawMode?(isRaw: boolean): unknown };

/** Input, output and environment. */
export interface Streams {
  readonly stdin: Input;
  readonly stdout: Writable;
  /** `isTTY`: a person reads it. */
  readonly stderr: Writable & { readonly isTTY?: boolean };
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Aborted by Ctrl-C. */
  readonly signal: AbortSignal;
}

/** Writes a line of the answer. */
export function printLine({ stdout }: Streams, line: string): void {
  stdout.write(`${line}\n`);
}

/** Writes a line that is no part of the answer: a note, a question. */
export function note({ stderr }: Streams, line: string): void {
  stderr.write(`${plain(line)}\n`);
}

/** Removes control characters: names and messages come from others, and must not control the terminal. */
export function plain(text: string): string {
  // oxlint-disable-next-line no-control-regex -- control characters are what this removes
  return text.replaceAll(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/g, "\uFFFD");
}
