// The error for what keeps the program from starting and a person can put right. Not here: errors of requests (@berth/oci/errors).

/** Ends the start: `main` prints its message without a stack. The message says what to do. */
export class StartupError extends Error {
  override readonly name: string = "StartupError";
}

/** EX_USAGE of sysexits.h: the exit code where the command line is wrong. */
export const EXIT_USAGE = 64;

/** What was typed cannot be meant, whatever the registry holds: nothing was looked at. Ends every command with `EXIT_USAGE`. */
export class UsageError extends StartupError {
  override readonly name = "UsageError";
}
