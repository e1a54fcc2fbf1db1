// Connections to a directory, encrypted before anything is said on them. StartTLS is done here, and not by the client library: what comes
// before the encryption must not be taken for an answer behind it. Not here: what is said on them (ldap-connection.ts), which server
// (ldap-servers.ts).
import { once } from "node:events";
import { connect, isIP, type LookupFunction, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import { LdapError, reasonOf } from "./ldap-errors.ts";

/** A server of a directory. */
export interface LdapAddress {
  /** As it is configured, for people. */
  readonly url: string;
  readonly host: string;
  readonly port: number;
  readonly encryption: "tls" | "starttls" | "none";
}

/** How one connects. */
export interface LdapSocketOptions {
  /** PEM of the authorities that are believed; undefined: the system's. */
  readonly ca: readonly string[] | undefined;
  readonly lookup: LookupFunction | undefined;
  /** For all of it: name, connection, encryption. */
  readonly timeoutMs: number;
}

/** Connects. Errors: `LdapError`. */
export async function openLdapSocket(address: LdapAddress, { ca, lookup, timeoutMs }: LdapSocketOptions): Promise<Socket> {
  const { url, host, port, encryption } = address;
  const tcp = connect({ host, port, noDelay: true, keepAlive: true, ...(lookup === undefined ? {} : { lookup }) });
  // An error that comes when nobody waits for one must not end the process.
  tcp.on("error", () => undefined);
  const timer = setTimeout(() => tcp.destroy(new Error(`no answer within ${timeoutMs / 1000} s`)), timeoutMs);
  let step = "connect to";
  try {
    await once(tcp, "connect");
    if (encryption === "none") return tcp;
    if (encryption === "starttls") {
      step = "begin StartTLS at";
      await startTls(tcp);
    }
    step = "encrypt the connection to";
    const secure = connectTls({
      socket: tcp,
      host,
      ...(isIP(host) === 0 ? { servername: host } : {}),
      ...(ca === undefined ? {} : { ca: [...ca] }),
    });
    secure.on("error", () => undefined);
    await once(secure, "secureConnect");
    return secure;
  } catch (error) {
    tcp.destroy();
    if (error instanceof LdapError) throw error;
    // What a certificate lacks is no outage: it does not pass by itself.
    const isCertificate = /CERT|SIGNATURE|ALTNAME|SELF_SIGNED|ISSUER/.test(String((error as { code?: unknown }).code));
    throw new LdapError(isCertificate ? "misconfigured" : "away", `cannot ${step} ${url}: ${reasonOf(error)}`, { cause: error });
  } finally {
    clearTimeout(timer);
  }
}

const START_TLS = "1.3.6.1.4.1.1466.20037";
/** An answer to StartTLS is a few dozen bytes. */
const MAX_ANSWER_BYTES = 4096;

/** Asks for encryption with the first message of the connection. Source: RFC 4511, section 4.14. */
async function startTls(socket: Socket): Promise<void> {
  const name = Buffer.from(START_TLS);
  const request = Buffer.concat([Buffer.from([0x77, name.length + 2, 0x80, name.length]), name]);
  socket.write(Buffer.concat([Buffer.from([0x30, request.length + 3, 0x02, 0x01, 0x01]), request]));
  const answer = await readMessage(socket);
  const resultCode = readStartTlsAnswer(answer);
  if (resultCode !== 0) throw new LdapError("misconfigured", `the server refuses StartTLS (result code ${resultCode})`, { resultCode });
}

/** The first message that comes. Whatever came with it did so unencrypted, from anybody: then there is none. */
async function readMessage(tcp: Socket): Promise<Buffer> {
  let received: Buffer = Buffer.alloc(0);
  for (;;) {
    const piece = await nextPiece(tcp);
    received = Buffer.concat([received, piece]);
    const header = readHeader(received, 0);
    if (received.length > MAX_ANSWER_BYTES || (received.length > 0 && received[0] !== 0x30))
      throw new Error("it answers with what is no LDAP");
    if (header === undefined || received.length < header.end) continue;
    if (received.length > header.end) throw new Error("it sends more than its answer before the connection is encrypted");
    return received;
  }
}

async function nextPiece(tcp: Socket): Promise<Buffer> {
  const piece = tcp.read() as Buffer | null;
  if (piece !== null) return piece;
  const ended = Promise.withResolvers<never>();
  const end = (): void => ended.reject(new Error("it ends the connection"));
  tcp.once("end", end);
  tcp.once("close", end);
  try {
    await Promise.race([once(tcp, "readable"), ended.promise]);
  } finally {
    tcp.off("end", end);
    tcp.off("close", end);
  }
  return (tcp.read() as Buffer | null) ?? Buffer.alloc(0);
}

/** A tag's length and ends; undefined where it is not whole. Source: X.690, section 8.1.3. */
function readHeader(bytes: Buffer, at: number): { tag: number; start: number; end: number } | undefined {
  const [tag, first] = [bytes[at], bytes[at + 1]];
  if (tag === undefined || first === undefined) return undefined;
  if (first < 0x80) return { tag, start: at + 2, end: at + 2 + first };
  const count = first & 0x7f;
  // Active Directory writes each length in four bytes.
  if (count === 0 || count > 4) throw new Error("it answers with what is no LDAP");
  if (bytes.length < at + 2 + count) return undefined;
  const length = bytes.readUIntBE(at + 2, count);
  return { tag, start: at + 2 + count, end: at + 2 + count + length };
}

/** The result code of an extended response to the first message. */
function readStartTlsAnswer(message: Buffer): number {
  const whole = readHeader(message, 0);
  const id = whole === undefined ? undefined : readHeader(message, whole.start);
  const response = id === undefined ? undefined : readHeader(message, id.end);
  const code = response === undefined ? undefined : readHeader(message, response.start);
  const isAnswer = id?.tag === 0x02 && id.end - id.start === 1 && message[id.start] === 1 && response?.tag === 0x78 && code?.tag === 0x0a;
  if (!isAnswer || code.end - code.start !== 1) throw new Error("it answers StartTLS with something else");
  return message[code.start]!;
}
