// The types of calls, derived from the operations: their options and their answers. Not here: calls (client.ts).
import type { Answer, Input, Operation, StreamKind } from "@berth/api/operation";
import type { Permission } from "@berth/api/permissions";

type TObject = Operation["params"];
type Body = Operation["body"];

/** A field that may be omitted if nothing in it is required. */
type Given<Name extends string, T> = [T] extends [undefined]
  ? { readonly [K in Name]?: undefined }
  : object extends T
    ? { readonly [K in Name]?: T }
    : { readonly [K in Name]: T };

/** Further options of any call. */
export interface CommonOptions {
  readonly signal?: AbortSignal;
  /** The revision that a write is for, or `*`: see `Reply.etag`. */
  readonly ifMatch?: string;
}

/** The options of a call of an operation. */
export type CallOptions<O extends Operation> = Given<"params", Input<O>["params"]> &
  Given<"query", Input<O>["query"]> &
  Given<"body", Input<O>["body"]> &
  CommonOptions;

/** `options` may be omitted if nothing is required. */
export type CallArguments<T> = object extends T ? [options?: T] : [options: T];

/** Operations whose answer is one value. */
export type PlainOperation = Operation<TObject, TObject, Body, Body, Permission, undefined>;
/** Operations whose answer is a stream. */
export type StreamOperation = Operation<TObject, TObject, Body, Body, Permission, StreamKind>;

/** One item of a list or of a stream. */
export type ItemOf<O extends Operation> =
  Answer<O> extends { readonly items: readonly (infer T)[] } ? T : Answer<O> extends AsyncIterable<infer T> ? T : never;

/** An answer with its headers. */
export interface Reply<O extends Operation> {
  readonly answer: Answer<O>;
  readonly status: number;
  /** The resource's revision, where it has one. */
  readonly etag: string | undefined;
  /** The address of the created resource. */
  readonly location: string | undefined;
  readonly requestId: string | undefined;
}
