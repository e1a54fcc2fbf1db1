// Connections through a proxy by HTTP CONNECT, whatever is spoken inside: the proxy gets the address that was checked. Not here: what is checked
// (outbound-resolve.ts), what is sent (outbound-exchange.ts).
import { request } from "node:http";
import { isIPv6, type Socket } from "node:net";
import { connect as connectTls, type ConnectionOptions, type TLSSocket } from "node:tls";
import { OutboundError } from "./outbound-errors.ts";
import type { Target } from "./outbound-resolve.ts";

/** Opens a tunnel to the first of a target's addresses that the proxy reaches. Errors: `OutboundError` CONNECT, TIMEOUT. */
export async function openTunnel(proxy: URL, { host, url, place, addresses }: Target, timeoutMs: number): Promise<Socket> {
  const port = url.port === "" ? (url.protocol === "https:" ? 443 : 80) : Number(url.port);
  let failure: unknown;
  // A name that only the proxy knows goes as it is.
  for (const address of addresses.length === 0 ? [host] : addresses) {
    try {
      return await connectBy(proxy, `${isIPv6(address) ? `[${address}]` : address}:${port}`, place, timeoutMs);
    } catch (error) {
      failure = error;
    }
  }
  throw failure;
}

function connectBy(proxy: URL, authority: string, place: string, timeoutMs: number): Promise<Socket> {
  const { promise, resolve, reject } = Promise.withResolvers<Socket>();
  const credentials = `${decodeURIComponent(proxy.username)}:${decodeURIComponent(proxy.password)}`;
  const message = request({
    host: proxy.hostname.replace(/^\[(.*)\]$/, "$1"),
    port: proxy.port === "" ? 80 : Number(proxy.port),
    method: "CONNECT",
    path: authority,
    agent: false,
    signal: AbortSignal.timeout(timeoutMs),
    headers: {
      host: authority,
      ...(proxy.username === "" ? {} : { "proxy-authorization": `Basic ${Buffer.from(credentials).toString("base64")}` }),
    },
  });
  message.once("connect", ({ statusCode = 0 }, socket: Socket, head: Buffer) => {
    if (statusCode >= 200 && statusCode < 300 && head.length === 0) return resolve(socket);
    socket.destroy();
    reject(new OutboundError("CONNECT", `the proxy opens no connection to ${place} (status ${statusCode})`));
  });
  // Whoever answers CONNECT as he would GET is no proxy.
  message.once("response", (response) => {
    response.destroy();
    reject(new OutboundError("CONNECT", `the proxy opens no connection to ${place} (status ${response.statusCode ?? 0})`));
  });
  message.once("error", (error) => {
    const isLate = error.name === "AbortError" || error.name === "TimeoutError";
    reject(new OutboundError(isLate ? "TIMEOUT" : "CONNECT", `the proxy ${isLate ? "did not answer in time" : "takes no connections"}`));
  });
  message.end();
  return promise;
}

/** TLS inside a tunnel. The socket is given before the handshake, as Node.js does; its errors are its events. */
export function secureTunnel(socket: Socket, options: ConnectionOptions): TLSSocket {
  const { lookup: _, host: __, port: ___, ...rest } = options;
  return connectTls({ ...rest, socket, ...(options.servername === undefined ? {} : { servername: options.servername }) });
}
