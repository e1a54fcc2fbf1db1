// Limits of the API that rules need as well as schemas. Not here: the fields with theirs (fields.ts), which load the schema library.

/** Longest page; as long as one query answers in a few milliseconds. */
export const MAX_PAGE_SIZE = 200;
/** Page where nothing is said. */
export const DEFAULT_PAGE_SIZE = 50;
/** Largest body of the control plane: a robot with the most scopes takes about 40 KiB. */
export const MAX_BODY_BYTES = 128 * 1024;
