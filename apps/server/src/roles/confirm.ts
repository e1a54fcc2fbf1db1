// Asks for confirmation before something irreversible: a person at a terminal, or `--yes` from a script. Not here: the questions.
import { createInterface } from "node:readline/promises";
import { StartupError } from "../platform/startup-error.ts";

/**
 * Returns if `isYes` is set, or a person types `yes`. Errors: `StartupError` for another answer, or without a terminal. `instead` is a
 * sentence that tells a script what to do.
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
