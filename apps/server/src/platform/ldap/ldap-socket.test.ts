// StartTLS against servers that are none, or somebody on the way: what comes unencrypted is never taken for an answer. Not here: a real directory
// (test/flows/ldap-directory.test.ts).
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, type Server, type Socket } from "node:net";
import { after, it } from "node:test";
import { LdapError } from "./ldap-errors.ts";
import { openLdapSocket } from "./ldap-socket.ts";

const OK = Buffer.from("300c02010178070a010004000400", "hex");
/** A bind response that says success, to the second message of a connection. */
const FORGED = Buffer.from("300c02010261070a010004000400", "hex");

const servers: Server[] = [];
const sockets = new Set<Socket>();
after(() => {
  for (const socket of sockets) socket.destroy();
  for (const server of servers) server.close();
});

/** What connecting to a server fails with that answers StartTLS with these pieces, each when the one before it was sent. */
async function failureWith(pieces: readonly Buffer[] | "silent" | "ends", timeoutMs = 60_000): Promise<LdapError> {
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => undefined);
    socket.once("data", async () => {
      if (pieces === "silent") return;
      if (pieces === "ends") return void socket.end();
      for (const piece of pieces) await new Promise<void>((resolve) => socket.write(piece, () => setImmediate(resolve)));
    });
  });
  servers.push(server);
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as { port: number };
  const address = { url: `ldap://127.0.0.1:${port}`, host: "127.0.0.1", port, encryption: "starttls" } as const;
  try {
    (await openLdapSocket(address, { ca: undefined, lookup: undefined, timeoutMs })).destroy();
  } catch (error) {
    assert.ok(error instanceof LdapError, String(error));
    return error;
  }
  throw new assert.AssertionError({ message: "it was connected to" });
}

it("takes nothing that came with the answer to StartTLS: it was not encrypted", async () => {
  for (const pieces of [
    [Buffer.concat([OK, FORGED])],
    [Buffer.concat([OK, FORGED.subarray(0, 5)])],
    [Buffer.concat([OK, Buffer.alloc(1)])],
  ]) {
    assert.match((await failureWith(pieces)).message, /more than its answer/);
  }
});

it("goes on to encrypt for a whole answer only, in however many pieces it comes", async () => {
  const bytes = Array.from(OK, (_, index) => OK.subarray(index, index + 1));
  // Lengths in four bytes, as Active Directory writes them.
  const long = Buffer.from("30840000001002010178840000000" + "70a010004000400", "hex");
  for (const pieces of [bytes, [long], [OK.subarray(0, 7), OK.subarray(7)]]) {
    // What follows is no TLS.
    assert.match(
      (await failureWith([...pieces, Buffer.from("no TLS at all, and long enough")])).message,
      /cannot (?:encrypt|begin StartTLS)/,
    );
  }
});

it("does not go on without encryption", async () => {
  const refused = await failureWith([Buffer.from("300c02010178070a010204000400", "hex")]);
  assert.equal(refused.problem, "misconfigured");
  assert.match(refused.message, /refuses StartTLS \(result code 2\)/);
  const others: (readonly Buffer[] | "ends")[] = [
    [FORGED],
    [Buffer.from("HTTP/1.1 400 Bad Request\r\n\r\n")],
    [Buffer.from("300c02010278070a010004000400", "hex")],
    [Buffer.from("3080", "hex")],
    [Buffer.from("3084ffffffff", "hex"), Buffer.alloc(8192, 0x30)],
    [Buffer.from("3000", "hex")],
    [Buffer.from("3003020101", "hex")],
    "ends",
  ];
  for (const pieces of others) assert.match((await failureWith(pieces)).message, /cannot begin StartTLS/);
});

it("waits no longer than it is told to", async () => {
  assert.match((await failureWith("silent", 300)).message, /no answer within 0\.3 s/);
});
