// The types of calls, which flow from the operations: what a call takes, what it gives. Not here: calls (client.ts).
import type { Answer, Input, Operation, StreamKind } from "@berth/api/operation";
import type { Permission } from "@berth/api/permissions";

type TObject = Operation["params"];
type Body = Operation["body"];

/** A field that may be left out where nothing in it must be given. */
type Given<Name extends string, T> = [T] extends [undefined]
  ? { readonly [K in Name]?: undefined }
  : object extends T
    ? { readonly [K in Name]?: T }
    : { readonly [K in Name]: T };

/** What any call may have besides. */
export interface CommonOptions {
  readonly signal?: AbortSignal;
  /** The revision that a write is for, or `*`: see `Reply.etag`. */
  readonly ifMatch?: string;
}

/** What a call of an operation takes. */
export type CallOptions<O extends Operation> = Given<"params", Input<O>["params"]> &
  Given<"query", Input<O>["query"]> &
  Given<"body", Input<O>["body"]> &
  CommonOptions;

/** `options` is left out where nothing must be given. */
export type CallArguments<T> = object extends T ? [options?: T] : [options: T];

/** Operations whose answer is one value. */
export type PlainOperation = Operation<TObject, TObject, Body, Body, Permission, undefined>;
/** Operations whose answer is a stream. */
export type StreamOperation = Operation<TObject, TObject, Body, Body, Permission, StreamKind>;

/** One item of a list or of a stream. */
export type ItemOf<O extends Operation> =
  Answer<O> extends { readonly items: readonly (infer T)[] } ? T : Answer<O> extends AsyncIterable<infer T> ? T : never;

/** An answer with what its headers say. */
export interface Reply<O extends Operation> {
  readonly answer: Answer<O>;
  readonly status: number;
  /** The resource's revision, where it has one. */
  readonly etag: string | undefined;
  /** The address of what was made. */
  readonly location: string | undefined;
  readonly requestId: string | undefined;
}
