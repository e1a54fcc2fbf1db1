// Which methods an address outside the data plane takes, and the error for the others. Whatever the parser lets through comes here, also
// methods that no framework knows. Not here: the data plane's (v2/parse-request.ts).
import { RegistryError } from "@berth/oci/errors";

/** Pages that are only read. */
export const READ_ONLY: readonly string[] = ["GET", "HEAD"];

/** Errors: UNSUPPORTED, with the methods that the address takes. */
export function checkMethod(method: string | undefined, allowed: readonly string[]): void {
  if (method === undefined || !allowed.includes(method)) throw methodNotAllowed(allowed);
}

/** Says which methods the address takes. */
export function methodNotAllowed(allowed: readonly string[]): RegistryError {
  return new RegistryError("UNSUPPORTED", { message: "the method is not allowed here", headers: { allow: allowed.join(", ") } });
}

/** A route by its template, `/projects/{project}`. */
export interface MethodRoute {
  readonly method: string;
  readonly path: string;
}

/** Makes the function that gives the methods of a path, percent-encoded as it came; undefined where nothing is. Who reads may ask for the head. */
export function createMethodTable(routes: readonly MethodRoute[]): (path: string) => readonly string[] | undefined {
  const exact = new Map<string, string[]>();
  for (const { method, path } of routes) {
    const methods = exact.get(path) ?? [];
    exact.set(path, methods);
    methods.push(...(method === "GET" ? READ_ONLY : [method]));
  }
  const templates = [...exact].filter(([path]) => path.includes("{"));
  const patterns = templates.map(([path, methods]) => ({ pattern: new RegExp(`^${path.replaceAll(/\{\w+\}/g, "[^/]+")}$`), methods }));
  return (path) => {
    const plain = decode(path);
    // A path that is spelled out is found before one that has room for it.
    return exact.get(plain) ?? patterns.find(({ pattern }) => pattern.test(plain))?.methods;
  };
}

// As the framework reads it: what separates segments stays encoded.
function decode(path: string): string {
  try {
    return decodeURI(path);
  } catch {
    return path;
  }
}
