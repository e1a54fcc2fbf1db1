// Asks a person, or reads a script's input: passwords without echo, a confirmation before something is lost. Not here: the questions.
import { createInterface } from "node:readline/promises";
import { Misuse, Stopped } from "./misuse.ts";
import { type Input, note, plain, type Streams } from "./streams.ts";

/** Longest password or ID token that is read, as the registry takes none longer. */
const MAX_PASSWORD_CHARACTERS = 16_384;

/** Whether a person can answer. */
export function isInteractive({ stdin, stderr }: Streams): boolean {
  return stdin.isTTY === true && stderr.isTTY === true;
}

/** Returns if `isYes` is set, or a person confirms. Errors: `Stopped` otherwise. */
export async function confirm(streams: Streams, question: string, isYes: boolean): Promise<void> {
  if (isYes) return;
  if (!isInteractive(streams)) throw new Stopped("nothing was changed: this asks before it deletes. Give --yes where nobody can answer");
  const answer = await ask(streams, `${question} Type yes to go on: `);
  if (answer.trim() !== "yes") throw new Stopped("nothing was changed");
}

/** A line that a person types. */
export async function ask(streams: Streams, question: string): Promise<string> {
  const asking = createInterface({ input: streams.stdin, output: streams.stderr, terminal: false });
  streams.stderr.write(plain(question));
  try {
    // At the end of the input there is no answer, but readline would wait for ever.
    const ended = new Promise<string>((resolve) => asking.once("close", () => resolve("")));
    return await Promise.race([asking.question("", { signal: streams.signal }), ended]);
  } finally {
    asking.close();
  }
}

/** A password from standard input if `isFromInput` is set, else from a person. Errors: `Misuse` if neither is possible. */
export async function readPassword(streams: Streams, question: string, isFromInput: boolean): Promise<string> {
  if (isFromInput) return readLineOf(streams.stdin);
  if (!isInteractive(streams)) throw new Misuse("nobody can type a secret here: give it on standard input, with --password-stdin");
  return readHidden(streams, question);
}

/** A new password, which a person types twice. */
export async function readNewPassword(streams: Streams, question: string, isFromInput: boolean): Promise<string> {
  const password = await readPassword(streams, question, isFromInput);
  if (isFromInput) return password;
  if ((await readHidden(streams, "Once more: ")) !== password) throw new Stopped("nothing was changed: the two passwords differ");
  return password;
}

/** The first line of the input, without its line break. */
async function readLineOf(input: Input): Promise<string> {
  let text = "";
  for await (const piece of input) {
    text += String(piece);
    if (text.length > MAX_PASSWORD_CHARACTERS || text.includes("\n")) break;
  }
  const [line = ""] = text.split(/\r?\n/, 1);
  if (line === "") throw new Misuse("standard input has no password");
  return line;
}

/** A person's input without echo. */
async function readHidden({ stdin, stderr, signal }: Streams, question: string): Promise<string> {
  stderr.write(plain(question));
  stdin.setRawMode?.(true);
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  let typed = "";
  const take = (piece: Buffer | string): void => {
    for (const key of piece.toString()) {
      if (key === "\r" || key === "\n") return resolve(typed);
      // Ctrl-C and Ctrl-D, which a raw terminal passes on unchanged.
      if (key === "\u0003" || key === "\u0004") return reject(new Stopped("nothing was changed"));
      typed = key === "\u007f" || key === "\b" ? typed.slice(0, -1) : typed + key;
    }
  };
  const stop = (): void => reject(new Stopped("nothing was changed"));
  stdin.on("data", take);
  stdin.once("end", stop);
  signal.addEventListener("abort", stop, { once: true });
  stdin.resume();
  try {
    return await promise;
  } finally {
    stdin.off("data", take);
    stdin.off("end", stop);
    signal.removeEventListener("abort", stop);
    stdin.setRawMode?.(false);
    stdin.pause();
    note({ stderr } as Streams, "");
  }
}
