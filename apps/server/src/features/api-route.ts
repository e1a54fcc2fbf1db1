// A route of the control plane: an operation, and the handler that gets the proof of its caller's permission. The proof is created here,
// from the operation's declared permission, so that no route can forget it. Not here: authentication, checking the input (http/api).
import { ApiError } from "@berth/api/errors";
import type { Answer, Input, Operation } from "@berth/api/operation";
import type { Permission } from "@berth/api/permissions";
import { RegistryError } from "@berth/oci/errors";
import { MAX_REPOSITORY_NAME_LENGTH, parseRepositoryName } from "@berth/oci/reference";
import type { AccountGrant, Authorizer, ProjectGrant } from "../access/authorize.ts";
import type { AccountCaller, Caller, Grant } from "../access/caller.ts";
import { UnauthorizedError } from "../access/challenge.ts";
import type { ProjectCreation } from "../access/judge.ts";

/** The proof that a handler gets for its operation's permission. */
interface ProofOf {
  /** Any caller: the handler returns what this one may see. */
  readonly anyone: Caller;
  readonly account: AccountGrant;
  readonly user: AccountGrant;
  readonly administrator: AccountGrant;
  readonly system: AccountGrant;
  readonly "project-creation": AccountGrant;
  readonly project: ProjectGrant;
  readonly repository: Grant;
}
type Proof<M extends Permission> = M extends { kind: "repository"; may: infer A extends "pull" | "delete" } ? Grant<A> : ProofOf[M["kind"]];

/** A handler's context besides its input. */
export interface ApiContext<M extends Permission = Permission> {
  /** The proof of the operation's permission. */
  readonly grant: Proof<M>;
  readonly caller: Caller;
  readonly remoteAddress: string;
  readonly browser: Browser;
  /** The condition of a write on the resource that it changes. */
  readonly precondition: Precondition;
  /** For a stream of events: the last one that the client has. */
  readonly lastEventId: string | undefined;
  /** Aborted when the client has left, or the server stops: an endless stream ends then. */
  readonly signal: AbortSignal;
}

/** The browser that asks, where it is one. */
export interface Browser {
  /** What it calls itself. */
  readonly name: string;
  /** The header that gives it a session, or takes it where the secret is empty. */
  sessionCookie(secret: string, maxAgeSeconds: number): string;
}

/**
 * A request's condition on the present revision of its resource: a handler of a `revision: "write"` checks it inside the transaction that
 * writes.
 */
export interface Precondition {
  /** Takes the resource in the form in which a read returns it. Errors: PRECONDITION_FAILED. */
  check(present: object): void;
}

const HEADERS = Symbol("headers of the answer");

/** An answer with the headers that its operation names. */
export interface AnswerWithHeaders<T> {
  readonly body: T;
  readonly [HEADERS]: Readonly<Record<string, string>>;
}

/** Adds headers to an answer. */
export function withHeaders<T>(body: T, headers: Readonly<Record<string, string>>): AnswerWithHeaders<T> {
  return { body, [HEADERS]: headers };
}

/** Splits a handler's result. */
export function partsOfAnswer(given: unknown): { readonly body: unknown; readonly headers: Readonly<Record<string, string>> } {
  if (typeof given !== "object" || given === null || !(HEADERS in given)) return { body: given, headers: {} };
  const { body, [HEADERS]: headers } = given as AnswerWithHeaders<unknown>;
  return { body, headers };
}

/** An operation with its handler. */
export interface ApiRoute {
  readonly operation: Operation;
  handle(input: { params: unknown; query: unknown; body: unknown }, context: ApiContext): Promise<unknown> | AsyncIterable<unknown>;
}

/** The results of handlers: a stream is returned synchronously, because nothing of it is looked up before it is read. */
type Given<O extends Operation> = [NonNullable<O["stream"]>] extends [never]
  ? Promise<Answer<O> | AnswerWithHeaders<Answer<O>>>
  : Answer<O>;

/** Joins an operation and its handler. The server checks the input and the permission before it calls. */
export function route<O extends Operation>(
  operation: O,
  handle: (input: Input<O>, context: ApiContext<O["permission"]>) => Given<O>,
): ApiRoute {
  return { operation, handle: (input, context) => handle(input as Input<O>, context) };
}

/** Turns permissions into proofs. */
export type Prove = <M extends Permission>(permission: M, caller: Caller, params: unknown) => Promise<Proof<M>>;

const NOT_BY_TOKEN = "a personal token does not do that: sign in with the password";

/**
 * Creates the function that checks permissions. Errors: UNAUTHORIZED, DENIED; PROJECT_UNKNOWN, REPOSITORY_UNKNOWN for what the caller may
 * not see.
 */
export function createProve(authorizer: Authorizer, projectCreation: () => ProjectCreation): Prove {
  async function proveUser(caller: Caller, isInPerson: boolean): Promise<AccountGrant> {
    const grant = await authorizer.authorizeAccount(caller);
    if (grant.account.kind !== "user") throw new RegistryError("DENIED");
    // Else a token would give out others, that may do more or last longer.
    if (isInPerson && (caller as AccountCaller).personal !== undefined) throw new RegistryError("DENIED", { message: NOT_BY_TOKEN });
    return grant;
  }

  /** A repository that the caller may not pull from is answered like a missing one. */
  async function proveRepository(caller: Caller, action: "pull" | "delete", project: string, path: string): Promise<Grant> {
    await authorizer.authorizeProject(caller, "project.read", project);
    const text = `${project}/${path}`;
    if (text.length > MAX_REPOSITORY_NAME_LENGTH) throw new ApiError("REPOSITORY_UNKNOWN");
    const name = parseRepositoryName(text);
    const rights = await authorizer.allowed(caller, name);
    if (rights.size === 0 || (action === "pull" && !rights.has("pull"))) throw new ApiError("REPOSITORY_UNKNOWN");
    if (!rights.has(action)) throw caller.kind === "anonymous" ? new UnauthorizedError() : new RegistryError("DENIED");
    return authorizer.authorize(caller, action, name);
  }

  function prove(permission: Permission, caller: Caller, params: unknown): Promise<ProofOf[keyof ProofOf]> {
    const { project = "", repository = "" } = params as { readonly project?: string; readonly repository?: string };
    switch (permission.kind) {
      case "anyone":
        return Promise.resolve(caller);
      case "account":
        return authorizer.authorizeAccount(caller);
      case "user":
        return proveUser(caller, permission.inPerson === true);
      case "administrator":
        return authorizer.authorizeAdministrator(caller);
      case "system":
        return authorizer.authorizeSystem(caller, permission.may);
      case "project-creation":
        return authorizer.authorizeSystem(caller, "projects.create", projectCreation());
      case "project":
        return authorizer.authorizeProject(caller, permission.may, project);
      case "repository":
        return proveRepository(caller, permission.may, project, repository);
    }
  }
  return prove as Prove;
}
