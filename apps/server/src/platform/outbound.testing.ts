// What tests of the safe fetch share: servers of this machine, name servers that the test plays, and errors by their codes.
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, type IncomingMessage, type RequestListener, type Server, type ServerResponse } from "node:http";
import type { AddressInfo, createServer as createTcpServer } from "node:net";
import type { TestContext } from "node:test";
import { classifyAddress } from "./outbound-addresses.ts";
import { OutboundError, type OutboundErrorCode } from "./outbound-errors.ts";
import { createOutbound, type OutboundOptions, type OutboundRequest } from "./outbound.ts";

export async function listen(t: TestContext, server: Server | ReturnType<typeof createTcpServer>, host = "127.0.0.1"): Promise<number> {
  server.listen(0, host);
  await once(server, "listening");
  t.after(() => {
    server.close();
    if ("closeAllConnections" in server) server.closeAllConnections();
  });
  return (server.address() as AddressInfo).port;
}

export const serve = (t: TestContext, answer: RequestListener, host?: string): Promise<number> => listen(t, createServer(answer), host);

export type Options = Partial<OutboundOptions<"test">>;

/** Names lead where `names` says; http is allowed, and 127.0.0.1 counts as public, so that tests have both sides on one machine. */
export function fetcher(t: TestContext, names: Readonly<Record<string, readonly string[]>> = {}, options: Options = {}) {
  const asked: string[] = [];
  const outbound = createOutbound({
    purposes: ["test"],
    insecureHttp: true,
    classify: (address) => (address === "127.0.0.1" ? "public" : classifyAddress(address)),
    resolve: async (host) => {
      asked.push(host);
      const found = names[host];
      if (found === undefined) throw new Error(`ENOTFOUND ${host}`);
      return found;
    },
    ...options,
  });
  t.after(() => outbound.close());
  const get = (address: string, request: Partial<OutboundRequest> = {}) =>
    outbound.for("test")(address, { maxAnswerBytes: 1000, ...request });
  return { get, asked, outbound };
}

export async function refused(work: Promise<unknown>, code: OutboundErrorCode): Promise<OutboundError> {
  const error: unknown = await work.then(
    () => assert.fail(`was not refused with ${code}`),
    (thrown: unknown) => thrown,
  );
  assert.ok(error instanceof OutboundError, String(error));
  assert.equal(error.code, code, error.message);
  return error;
}

export const text = (body: string) => (_: IncomingMessage, response: ServerResponse) => response.end(body);
