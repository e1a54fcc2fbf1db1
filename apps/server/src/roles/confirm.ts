// Asking before something that cannot be taken back: a person on a terminal, or `--yes` from a script. Not here: what is asked about.
import { createInterface } from "node:readline/promises";
import { StartupError } from "../platform/startup-error.ts";

/**
 * Returns when `isYes` says so, or a person types `yes`. Errors: `StartupError` where the answer is another one, or nobody is there to give it.
 * `instead` says in a sentence what a script has to do.
 */
export async function confirm(question: string, isYes: boolean, instead: string): Promise<void> {
  if (isYes) return;
  if (process.stdin.isTTY !== true || process.stderr.isTTY !== true) throw new StartupError(`Nothing was changed. ${instead}`);
  const asking = createInterface({ input: process.stdin, output: process.stderr });
  try {
    const answer = await asking.question(`${question} Type yes to go on: `);
    if (answer.trim() !== "yes") throw new StartupError("Nothing was changed.");
  } finally {
    asking.close();
  }
}
