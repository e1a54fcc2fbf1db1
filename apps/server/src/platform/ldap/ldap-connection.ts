// One connection to a directory: binds and searches, each within its time, answers within their size; referrals are not followed. What a
// directory says is taken for what it is: people, or an outage, or settings that are wrong. Not here: which connection (ldap-servers.ts).
import type { Socket } from "node:net";
import { Client, type Filter, ResultCodeError } from "ldapts";
import { LdapError, reasonOf } from "./ldap-errors.ts";

/** Whether a directory takes a password. */
export type BindResult =
  | { readonly isRight: true }
  /** `detail`: the directory's own words, for administrators. */
  | { readonly isRight: false; readonly resultCode: number; readonly detail: string };

/** An entry of a directory. Names of attributes are in lower case. */
export interface LdapEntry {
  readonly dn: string;
  readonly attributes: ReadonlyMap<string, readonly Buffer[]>;
}

/** What is searched for. */
export interface LdapSearch {
  readonly base: string;
  readonly scope: "base" | "one" | "sub";
  readonly filter: Filter;
  readonly attributes: readonly string[];
  /** The most entries that are wanted. */
  readonly limit: number;
}

/** A connection. After an `LdapError` it is closed. */
export interface LdapConnection {
  readonly isOpen: boolean;
  /** Errors: `LdapError`. */
  bind(dn: string, password: string): Promise<BindResult>;
  /** Entries; none where the base is not there and `limit` says nothing of it. Errors: `LdapError`. */
  search(search: LdapSearch): Promise<LdapEntry[]>;
  close(): void;
}

/** What one answer may have: a thousand groups with long names, and no directory's whole tree. */
const MAX_ANSWER_BYTES = 4 * 1024 * 1024;

/** Codes that speak of the person who signs in. Source: RFC 4511, appendix A; 389 Directory Server and ppolicy for 19, 50, 53. */
const REFUSES_PERSON = new Set([19, 32, 34, 48, 49, 50, 53]);
/** Codes that say that it will be different later. */
const PASSES = new Set([1, 3, 11, 51, 52, 80]);

/** Speaks LDAP over a connection that is encrypted if it shall be. `url`: for people. */
export function openLdapConnection(socket: Socket, url: string, timeoutMs: number): LdapConnection {
  let isTaken = false;
  let received = 0;
  socket.on("data", (piece: Buffer) => {
    received += piece.length;
    if (received > MAX_ANSWER_BYTES) socket.destroy(new Error(`an answer has more than ${MAX_ANSWER_BYTES} bytes`));
  });
  const client = new Client({
    // The socket is there and encrypted already: the library shall neither connect nor encrypt.
    url: "ldap://directory.invalid",
    timeout: timeoutMs,
    strictDN: false,
    createConnection: () => {
      if (isTaken) throw new Error("the connection has ended");
      isTaken = true;
      return socket;
    },
  });
  const isOpen = (): boolean => !socket.destroyed && socket.writable && (client.isConnected || !isTaken);

  async function ask<T>(work: () => Promise<T>, takeCode: (error: ResultCodeError) => T | undefined): Promise<T> {
    received = 0;
    try {
      return await work();
    } catch (error) {
      const taken = error instanceof ResultCodeError ? takeCode(error) : undefined;
      if (taken !== undefined) return taken;
      socket.destroy();
      if (!(error instanceof ResultCodeError)) throw new LdapError("away", `${url}: ${reasonOf(error)}`, { cause: error });
      const problem = PASSES.has(error.code) ? "away" : "misconfigured";
      throw new LdapError(problem, `${url} answers with result code ${error.code}: ${reasonOf(error)}`, { resultCode: error.code });
    }
  }

  return {
    get isOpen() {
      return isOpen();
    },
    bind: (dn, password) =>
      ask<BindResult>(
        async () => {
          // Without a password it is an anonymous bind, which every server grants. Source: RFC 4513, section 5.1.2.
          if (dn === "" || password === "") return { isRight: false, resultCode: 49, detail: "an empty password" };
          // Names of SASL mechanisms would be taken for one.
          if (!dn.includes("=") && !dn.includes("@") && !dn.includes("\\"))
            return { isRight: false, resultCode: 34, detail: "no name of an entry" };
          await client.bind(dn, password);
          return { isRight: true };
        },
        (error) => (REFUSES_PERSON.has(error.code) ? { isRight: false, resultCode: error.code, detail: reasonOf(error) } : undefined),
      ),
    search: ({ base, scope, filter, attributes, limit }) =>
      ask(
        async () => {
          const { searchEntries } = await client.search(base, {
            scope,
            filter,
            attributes: [...attributes],
            // As bytes: what is text is known to who asks.
            explicitBufferAttributes: attributes.flatMap((name) => [name, name.toLowerCase()]),
            sizeLimit: limit,
            timeLimit: Math.ceil(timeoutMs / 1000),
          });
          return searchEntries.map(({ dn, ...rest }) => ({ dn, attributes: attributesOf(rest) }));
        },
        () => undefined,
      ),
    close() {
      if (client.isConnected) client.unbind().catch(() => socket.destroy());
      else socket.destroy();
    },
  };
}

function attributesOf(found: Readonly<Record<string, Buffer | Buffer[] | string[] | string>>): ReadonlyMap<string, readonly Buffer[]> {
  return new Map(
    Object.entries(found).map(([name, values]): [string, readonly Buffer[]] => [
      name.toLowerCase(),
      (Array.isArray(values) && !Buffer.isBuffer(values) ? values : [values]).map((value) =>
        typeof value === "string" ? Buffer.from(value) : value,
      ),
    ]),
  );
}

/** The values of an attribute that are text. */
export function textsOf(entry: LdapEntry, attribute: string): string[] {
  return (entry.attributes.get(attribute.toLowerCase()) ?? []).flatMap((value) => {
    const text = value.toString("utf8");
    return Buffer.from(text).equals(value) ? [text] : [];
  });
}
