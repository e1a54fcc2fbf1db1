// The error for what keeps the program from starting and a person can put right. Not here: errors of requests (@berth/oci/errors).

/** Ends the start: `main` prints its message without a stack. The message says what to do. */
export class StartupError extends Error {
  override readonly name = "StartupError";
}
