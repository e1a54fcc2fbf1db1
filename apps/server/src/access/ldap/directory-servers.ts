// A directory's servers, opened from its settings: certificates are read and addresses taken apart once; nothing is connected to before somebody signs in.
// Not here: what they are asked (directory.ts).
import { X509Certificate } from "node:crypto";
import { readFile } from "node:fs/promises";
import type { LookupFunction } from "node:net";
import { rootCertificates } from "node:tls";
import type { Clock } from "../../platform/clock.ts";
import { SECOND_MS } from "../../platform/clock.ts";
import { createLdapServers, type LdapServers, type LdapServersOptions } from "../../platform/ldap/ldap-servers.ts";
import type { LdapAddress } from "../../platform/ldap/ldap-socket.ts";
import { StartupError } from "../../platform/startup-error.ts";
import type { DirectorySettings } from "./person.ts";

/** What opening needs. */
export interface DirectoryServersParts {
  readonly clock: Clock;
  readonly lookup?: LookupFunction;
  /** `outbound.caFile`: authorities that count besides the system's where the directory has no file of its own. */
  readonly outboundCaFile?: string | undefined;
  readonly onState?: LdapServersOptions["onState"];
  readonly onAsked?: LdapServersOptions["onAsked"];
}

/** Opens the servers of a directory. Errors: `StartupError` where the file of authorities cannot be used. */
export async function openDirectoryServers(name: string, settings: DirectorySettings, parts: DirectoryServersParts): Promise<LdapServers> {
  const { urls, plain, caFile, bindDn, bindPassword, connections } = settings;
  const { clock, lookup, outboundCaFile, onState, onAsked } = parts;
  const own = caFile === undefined ? undefined : await readAuthorities(`auth.ldap.${name}.caFile`, caFile);
  const others = outboundCaFile === undefined ? undefined : await readAuthorities("outbound.caFile", outboundCaFile);
  return createLdapServers({
    addresses: urls.map((url) => addressOf(url, plain)),
    ca: own !== undefined ? [own] : others === undefined ? undefined : [...rootCertificates, others],
    searcher: bindDn === undefined ? undefined : { dn: bindDn, password: bindPassword ?? "" },
    connectTimeoutMs: settings.connectTimeoutSeconds * SECOND_MS,
    answerTimeoutMs: settings.answerTimeoutSeconds * SECOND_MS,
    connections,
    clock,
    ...(lookup === undefined ? {} : { lookup }),
    ...(onState === undefined ? {} : { onState }),
    ...(onAsked === undefined ? {} : { onAsked }),
  });
}

/** Source: RFC 4516, section 2 (ldap); ports by convention. */
function addressOf(url: string, plain: boolean): LdapAddress {
  const { protocol, hostname, port } = new URL(url);
  const isTls = protocol === "ldaps:";
  const host = hostname.replace(/^\[(.*)\]$/, "$1");
  return { url, host, port: port === "" ? (isTls ? 636 : 389) : Number(port), encryption: isTls ? "tls" : plain ? "none" : "starttls" };
}

async function readAuthorities(setting: string, file: string): Promise<string> {
  try {
    const text = await readFile(file, "utf8");
    // The first one shows that it is of the right kind; Node.js passes over what it cannot read.
    void new X509Certificate(text);
    return text;
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new StartupError(`Cannot use the authorities in ${file} (${setting}): ${reason}`, { cause: error });
  }
}
