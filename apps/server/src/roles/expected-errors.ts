// Errors whose message tells an operator what to do, so that a stack adds nothing. Not here: their exit codes (main.ts, maintain.ts).

/** An error's message and those of its causes. */
export function describeCauses(error: Error): string {
  return error.cause instanceof Error ? `${error.message}: ${describeCauses(error.cause)}` : error.message;
}

/** Whether it is an address in use, a port below 1024, an unwritable directory, or a full disk. */
export function isStartProblem(error: unknown): error is Error {
  return (
    error instanceof Error &&
    ["EADDRINUSE", "EADDRNOTAVAIL", "EACCES", "ENOTDIR", "EROFS", "ENOSPC", "EDQUOT"].includes((error as NodeJS.ErrnoException).code ?? "")
  );
}
