// Errors that keep a registry from starting, as one sentence that names the setting: the database's, the store's and the address's own
// errors, by their codes. Not here: waiting for the database (await-database.ts), errors of the configuration itself (config-load.ts).
import { createServer } from "node:net";
import { RegistryError } from "@berth/oci/errors";
import { showListenAddress, type ListenAddress } from "../config-kinds.ts";
import type { Config } from "../config.ts";
import { describePortOwner } from "../platform/port-owner.ts";
import { StartupError } from "../platform/startup-error.ts";
import { nameDatabase, nameStore } from "./openers.ts";

interface Failure {
  /** Worded to follow "X cannot be used:". */
  readonly reason: string;
  /** Whether it may pass by itself: a server that is starting, a name that is not known yet. */
  readonly mayPass: boolean;
}

/** The innermost error with a code, and all messages on the way to it. */
function innermost(error: unknown): { readonly code: string; readonly message: string; readonly status: number | undefined } {
  let found = { code: "", message: "", status: undefined as number | undefined };
  for (let each = error; each instanceof Error; each = each.cause ?? (each as AggregateError).errors?.[0]) {
    const { code, Code, name, $metadata } = each as Error & { code?: unknown; Code?: unknown; $metadata?: { httpStatusCode?: number } };
    if (each instanceof RegistryError) continue;
    const own = typeof code === "string" ? code : typeof Code === "string" ? Code : $metadata === undefined ? "" : name;
    found = { code: own || found.code, message: each.message || found.message, status: $metadata?.httpStatusCode ?? found.status };
  }
  return found;
}

const NETWORK: Readonly<Record<string, Failure>> = {
  ECONNREFUSED: { reason: "nobody listens there (connection refused)", mayPass: true },
  ECONNRESET: { reason: "the connection was broken off", mayPass: true },
  ENOTFOUND: { reason: "there is no such host", mayPass: true },
  EAI_AGAIN: { reason: "the host's name cannot be looked up now", mayPass: true },
  ETIMEDOUT: { reason: "it does not answer", mayPass: true },
  EHOSTUNREACH: { reason: "there is no way to the host", mayPass: true },
  ENETUNREACH: { reason: "there is no way to the host's network", mayPass: true },
};

const TLS = /CERT|SELF_SIGNED|UNABLE_TO_|ERR_TLS|ERR_SSL|EPROTO/;

// Source: PostgreSQL manual, Appendix A.
const POSTGRES: Readonly<Record<string, Failure>> = {
  "28P01": { reason: "the password is wrong, or there is no such user", mayPass: false },
  "28000": { reason: "the server does not let this user in from here (its pg_hba.conf, or there is no such user)", mayPass: false },
  "3D000": { reason: "the server has no database of that name", mayPass: false },
  "42501": { reason: "the user may not make tables there", mayPass: false },
  "53300": { reason: "the server has no connection left", mayPass: true },
  "57P03": { reason: "the server is starting or stopping", mayPass: true },
};

/** The meaning of a database error, or undefined if it is not about reaching the database. */
export function explainDatabaseError(error: unknown): Failure | undefined {
  const { code, message } = innermost(error);
  const known = POSTGRES[code] ?? NETWORK[code];
  if (known !== undefined) return known.mayPass ? known : { ...known, reason: `${known.reason} (${message})` };
  // The driver's own error at the beginning of a connection.
  if (/^SASL: .*client password must be/.test(message))
    return { reason: "the server wants a password, and none is given (in database.url, or PGPASSWORD)", mayPass: false };
  if (message.startsWith("SASL: ")) return { reason: `signing in there does not come about (${message})`, mayPass: false };
  if (/does not support SSL/.test(message)) return { reason: "the server speaks no TLS: leave sslmode out", mayPass: false };
  if (TLS.test(code)) return { reason: `TLS does not come about (${message}): see sslmode and sslrootcert`, mayPass: false };
  if (/no pg_hba\.conf entry.*no encryption/.test(message)) return { reason: "the server wants TLS: add ?sslmode=require", mayPass: false };
  if (error instanceof RegistryError && error.code === "UNAVAILABLE") return { reason: message, mayPass: true };
  return undefined;
}

/** Errors of the database at the start, as `StartupError`. */
export function databaseStartError(error: unknown, config: Config): unknown {
  const failure = explainDatabaseError(error);
  if (config.database.url === undefined || failure === undefined) return error;
  return new StartupError(`The database ${nameDatabase(config)} (database.url) cannot be used: ${failure.reason}.`, { cause: error });
}

const S3: Readonly<Record<string, string>> = {
  NoSuchBucket: "there is no such bucket (storage.s3.bucket)",
  InvalidAccessKeyId: "the service does not know the access key (storage.s3.accessKeyId)",
  SignatureDoesNotMatch: "the secret key is wrong (storage.s3.secretAccessKey)",
  AccessDenied: "the access key may not use the bucket (storage.s3.accessKeyId, or the bucket's policy)",
  Forbidden: "the access key may not use the bucket (storage.s3.accessKeyId, or the bucket's policy)",
  RequestTimeTooSkewed: "this machine's clock is wrong: the service refuses what it signs (is its time service running?)",
  AuthorizationHeaderMalformed: "the region is another one (storage.s3.region)",
  PermanentRedirect: "the bucket is in another region or at another address (storage.s3.region, storage.s3.endpoint)",
  CredentialsProviderError: "there are no credentials (storage.s3.accessKeyId and secretAccessKey, or the machine's role)",
  InvalidBucketName: "the bucket's name is none (storage.s3.bucket)",
};

const FILES: Readonly<Record<string, string>> = {
  EACCES: "this user may not use the directory",
  EPERM: "this user may not use the directory",
  EROFS: "its file system is read-only",
  ENOSPC: "its disk is full",
  EDQUOT: "the quota of its disk is used up",
  ENOTDIR: "a part of the path is no directory",
  ENOENT: "the directory cannot be made there",
};

/** The meaning of a store error, and whether it may pass; undefined if it is not about reaching the store. */
export function explainStoreError(error: unknown, { storage }: Config): Failure | undefined {
  if (!(error instanceof RegistryError)) {
    const { code, message } = innermost(error);
    return S3[code] === undefined ? undefined : { reason: `${S3[code]} (${message})`, mayPass: false };
  }
  if (error.code !== "UNAVAILABLE" && error.code !== "STORAGE_FULL") return undefined;
  const { code, message, status } = innermost(error);
  if (storage.kind === "filesystem") {
    const known = FILES[code];
    return { reason: known === undefined ? message : `${known} (${message})`, mayPass: true };
  }
  const at = storage.s3.endpoint === undefined ? "" : ` (storage.s3.endpoint ${storage.s3.endpoint})`;
  if (S3[code] !== undefined) return { reason: `${S3[code]} (${message})`, mayPass: false };
  if (NETWORK[code] !== undefined) return { ...NETWORK[code], reason: `${NETWORK[code].reason}${at}` };
  if (TLS.test(code)) return { reason: `TLS does not come about (${message})${at}`, mayPass: false };
  // The service refuses us, for a reason that it names itself.
  const isRefusal = status !== undefined && status >= 400 && status < 500 && ![408, 425, 429].includes(status);
  return { reason: `${code === "" ? "" : `${code}: `}${message}${at}`, mayPass: !isRefusal };
}

/** Errors of the store at the start, as `StartupError`. */
export function storeStartError(error: unknown, config: Config): unknown {
  const failure = explainStoreError(error, config);
  if (failure === undefined) return error;
  const name = nameStore(config);
  return new StartupError(`${name.charAt(0).toUpperCase()}${name.slice(1)} cannot be used: ${failure.reason}.`, { cause: error });
}

/** Errors of listening, as `StartupError`. `setting` names the address's setting. */
export async function listenStartError(error: unknown, setting: string, address: ListenAddress): Promise<unknown> {
  const shown = `Cannot listen on ${showListenAddress(address)} (${setting}): `;
  const code = (error as NodeJS.ErrnoException).code ?? "";
  const reasons: Readonly<Record<string, string>> = {
    EADDRINUSE: `the address is in use${code === "EADDRINUSE" ? await describePortOwner(address.port) : ""}. Stop that one, or choose another address.`,
    EACCES: "this user may not use that port. Ports below 1024 want CAP_NET_BIND_SERVICE; choose another, or put a proxy in front.",
    EADDRNOTAVAIL: "this machine has no such address.",
    ENOTFOUND: "there is no such host.",
    EAI_AGAIN: "the host's name cannot be looked up.",
    EAFNOSUPPORT: "this machine does not speak that kind of address.",
  };
  const reason = reasons[code];
  return reason === undefined ? error : new StartupError(shown + reason, { cause: error });
}

/** Listens on an address and closes it again, before anything is created, so that a port in use leaves no trace. Errors: `StartupError`. */
export async function tryAddress(setting: string, address: ListenAddress): Promise<void> {
  const server = createServer();
  try {
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen(address.port, address.host, resolve);
    });
  } catch (error) {
    throw await listenStartError(error, setting, address);
  }
  await new Promise((resolve) => void server.close(resolve));
}
