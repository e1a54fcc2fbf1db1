// The error for a problem that keeps the program from starting and that a person can fix. Not here: errors of requests (@berth/oci/errors).

/** Ends the start: `main` prints its message without a stack. The message says what to do. */
export class StartupError extends Error {
  override readonly name: string = "StartupError";
}

/** EX_USAGE of sysexits.h: the exit code for a wrong command line. */
export const EXIT_USAGE = 64;

/** The command line cannot be right, whatever the registry holds: nothing was read or changed. Every command ends with `EXIT_USAGE`. */
export class UsageError extends StartupError {
  override readonly name = "UsageError";
}
