// The processes that the machine's limits are measured with: `http`, a bare node:http server that answers every
// request with one manifest-sized body; `pipe`, a TCP server that writes from memory as fast as it is read.
// The measuring is in limits.ts.
import { createServer as createHttpServer } from "node:http";
import { createServer as createTcpServer } from "node:net";
import type { AddressInfo, Server } from "node:net";

/** The size of the manifest that the manifest cases read, roughly. */
const bodyBytes = 500;
/** Large enough that the number of writes does not count, small enough to stay in the CPU's cache. */
const sliceBytes = 1024 * 1024;

function bareHttp(): Server {
  const body = Buffer.alloc(bodyBytes, "x");
  const headers = {
    "content-type": "application/vnd.oci.image.manifest.v1+json",
    "content-length": bodyBytes,
    "docker-content-digest": `sha256:${"0".repeat(64)}`,
  };
  return createHttpServer((request, response) => {
    response.writeHead(200, headers);
    response.end(request.method === "HEAD" ? undefined : body);
  });
}

function pipe(): Server {
  const slice = Buffer.alloc(sliceBytes, "x");
  return createTcpServer((socket) => {
    const fill = (): void => {
      while (socket.write(slice));
    };
    socket.on("drain", fill);
    // The reader goes away when it has read enough.
    socket.on("error", () => socket.destroy());
    fill();
  });
}

const server = process.argv[2] === "http" ? bareHttp() : pipe();
server.listen(0, "127.0.0.1", () => process.send?.((server.address() as AddressInfo).port));
process.once("disconnect", () => process.exit());
