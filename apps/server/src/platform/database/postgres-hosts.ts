// The address of a PostgreSQL that may run on several hosts, one of which takes writes: libpq's multi-host URI, which the driver does not
// support. Not here: which host is the primary now (postgres-pool.ts).

/** One host of an address. */
export interface PostgresHost {
  /** `host:port`, for messages. */
  readonly shown: string;
  /** The driver's address of this host alone. */
  readonly url: string;
}

/** An address, or its mistake, worded to follow a setting's name. */
export type PostgresAddress =
  | { readonly ok: true; readonly hosts: readonly PostgresHost[] }
  | { readonly ok: false; readonly problem: string };

/** More than the servers of any real cluster; they would be asked one by one. */
const MAX_HOSTS = 16;
/** The values that lead to a server that takes writes. Other values would allow a standby, which returns outdated tags. */
const WANTED_SERVER = new Set(["any", "read-write", "primary"]);

const bad = (problem: string): PostgresAddress => ({ ok: false, problem });

/**
 * Reads `postgres://user:password@host1:5432,host2:5432/database?parameters`. `target_session_attrs` may be `read-write`, `primary` or
 * `any`; with more than one host it is always the one that takes writes. Source: PostgreSQL manual, 34.1.1.3 Specifying multiple hosts.
 */
export function parsePostgresAddress(address: string): PostgresAddress {
  const match = /^(postgres(?:ql)?:\/\/)(?:([^/?#]*)@)?([^/?#@]*)(\/[^?#]*)?(?:\?([^#]*))?$/.exec(address);
  if (match === null) return bad("must be an address such as postgres://user:password@host:5432/name");
  const [, scheme = "", user, authority = "", path = "", query = ""] = match;
  const parameters = new URLSearchParams(query);
  const wanted = parameters.get("target_session_attrs");
  if (wanted !== null && !WANTED_SERVER.has(wanted))
    return bad("asks for a server other than the primary: target_session_attrs is read-write, primary or any");
  // The driver does not support it.
  parameters.delete("target_session_attrs");
  const names = authority.split(",");
  if (names.length > MAX_HOSTS) return bad(`has more than ${MAX_HOSTS} hosts`);
  if (names.length > 1 && names.includes("")) return bad("has a host without a name");
  const rest = parameters.size === 0 ? "" : `?${parameters.toString()}`;
  const hosts: PostgresHost[] = [];
  for (const name of names) {
    const url = `${scheme}${user === undefined ? "" : `${user}@`}${name}${path}${rest}`;
    // The driver accepts what the platform's parser accepts; a missing host is taken from libpq's environment variables.
    if (URL.parse(name === "" ? url.replace("@/", "@host/").replace(":///", "://host/") : url) === null)
      return bad("has a host or port that cannot be");
    hosts.push({ shown: name, url });
  }
  return { ok: true, hosts };
}
