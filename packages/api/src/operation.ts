// What an operation of the control plane is: one value from which come validation, types, the OpenAPI document and the client.
// Not here: the operations (projects.ts, repositories.ts, users.ts, robots.ts, issuers.ts, trust.ts, jobs.ts, settings.ts), their handlers (the server's features).
import type { ErrorCode } from "@berth/oci/errors";
import type { Static, TObject, TSchema } from "typebox";
import type { ApiErrorCode } from "./errors.ts";
import type { Permission } from "./permissions.ts";

/**
 * An answer of many items, sent as they are found. `records`: as JSON Lines, or as CSV where the client asks for that. `events`: as server-sent
 * events; each item has an `id`, after which a client that comes again goes on, and a `kind`.
 */
export type StreamKind = "records" | "events";

/** One operation. Paths are below `/api/v1`, with `{name}` for each field of `params`. */
export interface Operation<
  P extends TObject = TObject,
  Q extends TObject = TObject,
  B extends TSchema | undefined = TSchema | undefined,
  A extends TSchema | undefined = TSchema | undefined,
  M extends Permission = Permission,
  S extends StreamKind | undefined = StreamKind | undefined,
> {
  /** Unique; the client's method. */
  readonly id: string;
  readonly tag:
    | "projects"
    | "repositories"
    | "manifests"
    | "members"
    | "users"
    | "groups"
    | "tokens"
    | "sessions"
    | "robots"
    | "directories"
    | "issuers"
    | "jobs"
    | "settings"
    | "audit"
    | "webhooks"
    | "registry";
  readonly method: "GET" | "POST" | "PUT" | "PATCH" | "DELETE";
  readonly path: string;
  readonly summary: string;
  /** Demanded before the handler runs. */
  readonly permission: M;
  readonly params: P;
  readonly query: Q;
  /** Undefined: no body. */
  readonly body: B;
  /** 202: what was asked for is done later, by a job that the answer names. */
  readonly status: 200 | 201 | 202 | 204;
  /** Of a stream, one item of it. Undefined with 204 only. */
  readonly answer: A;
  /** Undefined: the answer is one JSON value. */
  readonly stream?: S;
  /**
   * Whether the resource has a revision, told as `ETag`: a read gives it, and answers 304 to an `If-None-Match` that has it; a write that is sent
   * with `If-Match` is done only to that revision. Undefined: it has none, and a write with `If-Match` is refused.
   */
  readonly revision?: "read" | "write";
  /** Headers of a good answer besides those that every one has, by name, each with what it says. */
  readonly headers?: Readonly<Record<string, string>>;
  /** Largest body; `MAX_BODY_BYTES` where it is not given. */
  readonly maxBodyBytes?: number;
  /** Besides those that every operation has: see `COMMON_ERRORS`. */
  readonly errors: readonly (ApiErrorCode | ErrorCode)[];
}

/** The API's path. */
export const API_PREFIX = "/api/v1";

/** The header of answers that made something. */
export const LOCATION = { Location: "The address of what was made." } as const;

/** The address at which an operation reads something, from the server's root. */
export function addressOf(operation: Operation, params: Readonly<Record<string, string>>): string {
  return API_PREFIX + operation.path.replaceAll(/\{(\w+)\}/g, (_, name: string) => encodeURIComponent(params[name] ?? ""));
}

/** Errors that every operation can have; DENIED also where a personal token does not reach it, whatever its user may. */
export const COMMON_ERRORS = [
  "FIELD_INVALID",
  "UNAUTHORIZED",
  "DENIED",
  "TOOMANYREQUESTS",
  "UNAVAILABLE",
  "UNKNOWN",
] as const satisfies readonly (ApiErrorCode | ErrorCode)[];
/** Errors that every operation has besides whose resource has a revision. */
export const REVISION_ERRORS = ["PRECONDITION_FAILED"] as const satisfies readonly ErrorCode[];
/** Media types of streams, the one first that who asks for none gets. */
export const STREAM_TYPES = {
  records: ["application/jsonl", "text/csv"],
  events: ["text/event-stream"],
} as const satisfies Record<StreamKind, readonly string[]>;
/** Errors that every operation with a body can have besides. */
export const BODY_ERRORS = ["BODY_INVALID", "BODY_TOO_LARGE", "MEDIA_TYPE_UNSUPPORTED"] as const satisfies readonly ApiErrorCode[];

/** Defines an operation; for its types only. */
export function operation<
  P extends TObject,
  Q extends TObject,
  B extends TSchema | undefined,
  A extends TSchema | undefined,
  const M extends Permission,
  const S extends StreamKind | undefined = undefined,
>(definition: Operation<P, Q, B, A, M, S>): Operation<P, Q, B, A, M, S> {
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
export type Answer<O extends Operation> = [NonNullable<O["stream"]>] extends [never]
  ? StaticOf<O["answer"]>
  : AsyncIterable<StaticOf<O["answer"]>>;
