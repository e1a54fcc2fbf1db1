// Which methods an address outside the data plane takes, and the error for the others. Every method that the parser lets through arrives
// here, also those that no framework knows. Not here: the data plane's (v2/parse-request.ts).
import { RegistryError } from "@berth/oci/errors";

/** For pages that cannot be changed. */
export const READ_ONLY: readonly string[] = ["GET", "HEAD"];

/** Errors: UNSUPPORTED, with the methods that the address takes. */
export function checkMethod(method: string | undefined, allowed: readonly string[]): void {
  if (method === undefined || !allowed.includes(method)) throw methodNotAllowed(allowed);
}

/** The error that lists the methods an address takes. */
export function methodNotAllowed(allowed: readonly string[]): RegistryError {
  return new RegistryError("UNSUPPORTED", { message: "the method is not allowed here", headers: { allow: allowed.join(", ") } });
}

/** A route by its template, `/projects/{project}`. */
export interface MethodRoute {
  readonly method: string;
  readonly path: string;
}

/**
 * Returns a function that lists the methods of a percent-encoded path, or undefined for an unknown path. HEAD is allowed wherever GET is.
 */
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
    // An exact path wins over a template that also matches.
    return exact.get(plain) ?? patterns.find(({ pattern }) => pattern.test(plain))?.methods;
  };
}

// Decodes segment by segment, as the framework does: an encoded slash does not separate segments.
function decode(path: string): string {
  try {
    return decodeURI(path);
  } catch {
    return path;
  }
}
