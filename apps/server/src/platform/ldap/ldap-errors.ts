// What can be wrong between this program and a directory. Not here: what a person is told (access/ldap).

/** What a directory that could not be asked is like. */
export type LdapProblem =
  /** It does not answer, or says that it cannot now. */
  | "away"
  /** It answers, and not as the settings expect it to: somebody must change something. */
  | "misconfigured";

/** A directory could not be asked. The message has no secret. */
export class LdapError extends Error {
  override readonly name = "LdapError";
  readonly problem: LdapProblem;
  /** The result code that the directory gave, if it gave one. Source: RFC 4511, appendix A. */
  readonly resultCode: number | undefined;

  constructor(problem: LdapProblem, message: string, { resultCode, cause }: { resultCode?: number; cause?: unknown } = {}) {
    super(message, { cause });
    this.problem = problem;
    this.resultCode = resultCode;
  }
}

/** The reason of any error, in one line. */
export function reasonOf(error: unknown): string {
  if (error instanceof AggregateError && error.errors.length > 0) return error.errors.map(reasonOf).join("; ");
  const text = error instanceof Error ? error.message : String(error);
  return text.replaceAll(/\s+/g, " ").trim().slice(0, 300);
}
