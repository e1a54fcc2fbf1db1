// The program `berth`, and its credential helper: from arguments to an exit code. Not here: verbs (verbs/), the starters (../bin).
import { runCall } from "./call.ts";
import { parseCommandLine } from "./command-line.ts";
import { runCredentialHelper } from "./credential-helper.ts";
import { explainError } from "./explain-error.ts";
import { helpOn } from "./help.ts";
import { EXIT } from "./misuse.ts";
import type { Streams } from "./streams.ts";
import { isCall } from "./verb.ts";
import { VERBS } from "./verbs/verbs.ts";

/** Runs `berth`; returns the exit code. */
export async function runBerth(args: readonly string[], streams: Streams): Promise<number> {
  try {
    const line = parseCommandLine(args, VERBS);
    if ("help" in line) {
      streams.stdout.write(helpOn(line.help, VERBS));
      return EXIT.ok;
    }
    const { verb, given } = line;
    return await (isCall(verb) ? runCall(verb, given, streams) : verb.run(given, streams));
  } catch (error) {
    return explainError(error, streams);
  }
}

/** Runs a program in this process. */
export async function main(program: "berth" | "docker-credential-berth", args: readonly string[]): Promise<number> {
  const interrupted = new AbortController();
  process.once("SIGINT", () => interrupted.abort(new Error("interrupted")));
  // The reader of the output may stop, as `head` does.
  process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code !== "EPIPE") throw error;
    process.exit(EXIT.ok);
  });
  const { stdin, stdout, stderr, env } = process;
  const streams: Streams = { stdin, stdout, stderr, env, signal: interrupted.signal };
  return program === "berth" ? runBerth(args, streams) : runCredentialHelper(args, streams);
}
