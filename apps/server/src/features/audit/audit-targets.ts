// The targets of the audit log: a syslog server by TCP or TLS, a file, an HTTP endpoint. Each resolves when the other side has what was sent, as far as
// its protocol lets anybody know. Not here: what is sent when (audit-forwarding.ts), the lines (audit-lines.ts).
import { open } from "node:fs/promises";
import { connect, isIP, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import type { OutboundFetch } from "../../platform/outbound.ts";
import type { AuditRecord } from "./audit-chain.ts";
import type { AuditTarget } from "./audit-forwarding.ts";
import { framed, jsonLine, syslogMessage } from "./audit-lines.ts";

/** How long a server may take to open a connection, and to take what was sent. */
const TIMEOUT_MS = 30_000;
/** How much of a file's end is looked at for a line that was not written whole: more than the longest record. */
const TAIL_BYTES = 256 * 1024;

const linesOf = (records: readonly AuditRecord[]): string => records.map((record) => `${jsonLine(record)}\n`).join("");

/** A syslog server. `address`: `tcp://host:port` or `tls://host:port`. `ca`: authorities besides the system's, PEM. */
export function syslogTarget(
  address: URL,
  { ca, host }: { readonly ca: readonly string[] | undefined; readonly host: string },
): AuditTarget {
  const server = { host: address.hostname.replace(/^\[(.*)\]$/, "$1"), port: Number(address.port) };
  const dial = (): Socket =>
    address.protocol === "tls:"
      ? // An address is no server name. Source: RFC 6066, section 3.
        connectTls({
          ...server,
          ...(isIP(server.host) === 0 ? { servername: server.host } : {}),
          ...(ca === undefined ? {} : { ca: [...ca] }),
        })
      : connect(server);
  return {
    name: "syslog",
    // A connection for each batch: syslog has no answer, and that the server closes after us is the only sign that it has read all.
    send: (records, signal) =>
      new Promise<void>((resolve, reject) => {
        const socket = dial();
        const fail = (error: Error): void => {
          socket.destroy();
          reject(error);
        };
        const abort = (): void => fail(new Error("the sending was ended"));
        signal.addEventListener("abort", abort, { once: true });
        socket.setTimeout(TIMEOUT_MS, () => fail(new Error(`the syslog server ${address.host} takes nothing`)));
        let hasSent = false;
        socket.once(address.protocol === "tls:" ? "secureConnect" : "connect", () => {
          socket.end(records.map((record) => framed(syslogMessage(record, host))).join(""), () => void (hasSent = true));
        });
        socket.resume();
        socket.once("error", fail);
        socket.once("close", (hadError) => {
          signal.removeEventListener("abort", abort);
          if (hasSent && !hadError) resolve();
          else reject(new Error(`the syslog server ${address.host} closed the connection`));
        });
      }),
  };
}

/** A file of JSON lines on this machine. It may be renamed at any time: each batch opens it anew. */
export function fileTarget(path: string): AuditTarget {
  return {
    name: "file",
    async send(records) {
      const file = await open(path, "a+", 0o600);
      try {
        await cutTornLine(file);
        await file.appendFile(linesOf(records));
        await file.datasync();
      } finally {
        await file.close();
      }
    },
  };
}

/** A process that was killed may have written a part of a line; it was not taken for sent, and comes again whole. */
async function cutTornLine(file: Awaited<ReturnType<typeof open>>): Promise<void> {
  const { size } = await file.stat();
  const from = Math.max(0, size - TAIL_BYTES);
  const tail = Buffer.alloc(size - from);
  await file.read(tail, 0, tail.length, from);
  const end = tail.lastIndexOf(0x0a) + 1;
  if (end < tail.length && (end > 0 || from === 0)) await file.truncate(from + end);
}

/** An endpoint that takes JSON lines by POST, and says 2xx when it has them. */
export function httpTarget(
  address: string,
  { fetch, authorization }: { readonly fetch: OutboundFetch; readonly authorization: string | undefined },
): AuditTarget {
  return {
    name: "http",
    async send(records, signal) {
      const answer = await fetch(address, {
        method: "POST",
        headers: {
          "content-type": "application/x-ndjson",
          "berth-first-record": String(records[0]!.id),
          "berth-last-record": String(records.at(-1)!.id),
          ...(authorization === undefined ? {} : { authorization }),
        },
        body: linesOf(records),
        signal,
        maxAnswerBytes: 64 * 1024,
        isConfigured: true,
      });
      await answer.bytes();
      if (answer.status < 200 || answer.status > 299) throw new Error(`${new URL(address).host} answered ${answer.status}`);
    },
  };
}
