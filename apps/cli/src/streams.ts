// The program's surroundings, handed in so that tests can stand in for them: output, input, environment. Not here: what is printed (print.ts).
import type { Readable, Writable } from "node:stream";

/** Standard input, which may be a terminal. */
export type Input = Readable & { readonly isTTY?: boolean; setRawMode?(isRaw: boolean): unknown };

/** What the program reads from and writes to. */
export interface Streams {
  readonly stdin: Input;
  readonly stdout: Writable;
  /** `isTTY`: somebody reads it. */
  readonly stderr: Writable & { readonly isTTY?: boolean };
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Aborted by Ctrl-C. */
  readonly signal: AbortSignal;
}

/** Writes a line of the answer. */
export function printLine({ stdout }: Streams, line: string): void {
  stdout.write(`${line}\n`);
}

/** Writes a line that is not of the answer: a note, a question. */
export function note({ stderr }: Streams, line: string): void {
  stderr.write(`${plain(line)}\n`);
}

/** Without what would command a terminal: names and messages come from others. */
export function plain(text: string): string {
  // oxlint-disable-next-line no-control-regex -- these are the ones that are meant
  return text.replaceAll(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/g, "\uFFFD");
}
