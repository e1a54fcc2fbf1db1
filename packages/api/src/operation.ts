// What an operation of the control plane is: one value from which come validation, types, the OpenAPI document and the client.
// Not here: the operations (projects.ts, repositories.ts, users.ts, robots.ts, jobs.ts), their handlers (the server's features).
import type { ErrorCode } from "@berth/oci/errors";
import type { Static, TObject, TSchema } from "typebox";
import type { ApiErrorCode } from "./errors.ts";
import type { Permission } from "./permissions.ts";

/** One operation. Paths are below `/api/v1`, with `{name}` for each field of `params`. */
export interface Operation<
  P extends TObject = TObject,
  Q extends TObject = TObject,
  B extends TSchema | undefined = TSchema | undefined,
  A extends TSchema | undefined = TSchema | undefined,
  M extends Permission = Permission,
> {
  /** Unique; the client's method. */
  readonly id: string;
  readonly tag: "projects" | "repositories" | "members" | "users" | "robots" | "jobs" | "registry";
  readonly method: "GET" | "POST" | "PUT" | "PATCH" | "DELETE";
  readonly path: string;
  readonly summary: string;
  /** Demanded before the handler runs. */
  readonly permission: M;
  readonly params: P;
  readonly query: Q;
  /** Undefined: no body. */
  readonly body: B;
  readonly status: 200 | 201 | 204;
  /** Undefined with 204 only. */
  readonly answer: A;
  /** Besides those that every operation has: see `COMMON_ERRORS`. */
  readonly errors: readonly (ApiErrorCode | ErrorCode)[];
}

/** Errors that every operation can have. */
export const COMMON_ERRORS = ["FIELD_INVALID", "UNAUTHORIZED", "TOOMANYREQUESTS", "UNAVAILABLE", "UNKNOWN"] as const satisfies readonly (
  | ApiErrorCode
  | ErrorCode
)[];
/** Errors that every operation with a body can have besides. */
export const BODY_ERRORS = ["BODY_INVALID", "BODY_TOO_LARGE", "MEDIA_TYPE_UNSUPPORTED"] as const satisfies readonly ApiErrorCode[];

/** Defines an operation; for its types only. */
export function operation<
  P extends TObject,
  Q extends TObject,
  B extends TSchema | undefined,
  A extends TSchema | undefined,
  const M extends Permission,
>(definition: Operation<P, Q, B, A, M>): Operation<P, Q, B, A, M> {
  return definition;
}

type StaticOf<S> = S extends TSchema ? Static<S> : undefined;

/** What a handler of an operation gets. */
export interface Input<O extends Operation> {
  readonly params: StaticOf<O["params"]>;
  readonly query: StaticOf<O["query"]>;
  readonly body: StaticOf<O["body"]>;
}

/** What a handler of an operation gives. */
export type Answer<O extends Operation> = StaticOf<O["answer"]>;
