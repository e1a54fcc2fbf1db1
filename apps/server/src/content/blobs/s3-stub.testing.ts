// An S3 service in memory that fails on demand, in ways that a real one rarely does. Not here: the rest of the protocol; the contract runs
// on real services.
import { createHash } from "node:crypto";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

/** One request as the stub receives it. */
export interface StubRequest {
  readonly method: string;
  readonly name: string;
  readonly query: URLSearchParams;
  readonly headers: IncomingMessage["headers"];
  readonly body: Buffer;
}

/** What the stub does instead of answering, or while it answers. */
export type StubFault =
  | { readonly status: number; readonly code: string }
  /** Sends that many bytes of the body and closes the connection. */
  | { readonly breakAfterBytes: number }
  /** Does the request and loses the answer. */
  | "lose"
  /** Never answers. */
  | "hang";

/** A running stub. */
export interface S3Stub {
  readonly endpoint: string;
  readonly objects: Map<string, Buffer>;
  readonly multiparts: Map<string, Map<number, Buffer>>;
  readonly requests: StubRequest[];
  /** The most requests with a body at one time. */
  readonly mostUploads: () => number;
  fault: (request: StubRequest, count: number) => StubFault | undefined;
  close(): Promise<void>;
}

const BUCKET = "/bucket/";

/** Starts a stub with one bucket, `bucket`. */
export async function startS3Stub(): Promise<S3Stub> {
  const objects = new Map<string, Buffer>();
  const multiparts = new Map<string, Map<number, Buffer>>();
  const requests: StubRequest[] = [];
  let uploads = 0;
  let mostUploads = 0;

  function answer({ method, name, query, headers, body }: StubRequest): {
    status: number;
    headers?: Record<string, string>;
    body?: string | Buffer;
  } {
    const id = query.get("uploadId");
    const parts = id === null ? undefined : multiparts.get(id);
    if (id !== null && parts === undefined) return failed(404, "NoSuchUpload");
    const etag = `"${createHash("md5").update(body).digest("hex")}"`;
    if (method === "POST" && query.has("uploads")) {
      const created = `upload-${requests.length}`;
      multiparts.set(created, new Map());
      return { status: 200, body: `<InitiateMultipartUploadResult><UploadId>${created}</UploadId></InitiateMultipartUploadResult>` };
    }
    if (method === "POST" && query.has("delete")) {
      const names = [...body.toString().matchAll(/<Key>([^<]*)<\/Key>/g)].map((match) => match[1] ?? "");
      const stuck = names.filter((key) => key.endsWith("stuck.1"));
      for (const key of names) if (!stuck.includes(key)) objects.delete(key);
      const errors = stuck.map((key) => `<Error><Key>${key}</Key><Code>InternalError</Code><Message>stuck</Message></Error>`);
      return { status: 200, body: `<DeleteResult>${errors.join("")}</DeleteResult>` };
    }
    if (parts !== undefined && method === "PUT") {
      parts.set(Number(query.get("partNumber")), body);
      return { status: 200, headers: { etag } };
    }
    if (parts !== undefined && method === "POST") {
      objects.set(name, Buffer.concat([...parts].toSorted(([one], [other]) => one - other).map(([, bytes]) => bytes)));
      multiparts.delete(id ?? "");
      return { status: 200, body: "<CompleteMultipartUploadResult></CompleteMultipartUploadResult>" };
    }
    if (parts !== undefined && method === "DELETE") {
      multiparts.delete(id ?? "");
      return { status: 204 };
    }
    if (method === "PUT") {
      objects.set(name, body);
      return { status: 200, headers: { etag } };
    }
    const object = objects.get(name);
    if (method === "DELETE") return (objects.delete(name), { status: 204 });
    if (object === undefined) return failed(404, "NoSuchKey");
    if (method === "HEAD") return { status: 200, headers: { "content-length": String(object.length) } };
    const range = /^bytes=(\d+)-(\d+)$/.exec(headers.range ?? "");
    const start = Number(range?.[1]);
    if (start >= object.length) return failed(416, "InvalidRange");
    return { status: 206, body: object.subarray(start, Number(range?.[2]) + 1) };
  }

  function failed(status: number, code: string): { status: number; headers: Record<string, string>; body: string } {
    return {
      status,
      headers: { "content-type": "application/xml" },
      body: `<Error><Code>${code}</Code><Message>injected</Message></Error>`,
    };
  }

  async function serve(incoming: IncomingMessage, response: ServerResponse): Promise<void> {
    const isUpload = incoming.method === "PUT";
    if (isUpload) mostUploads = Math.max(mostUploads, ++uploads);
    const pieces: Buffer[] = [];
    for await (const piece of incoming) pieces.push(piece as Buffer);
    // One timer each, so that requests sent together overlap.
    await new Promise((resolve) => void setTimeout(resolve, 5));
    if (isUpload) uploads -= 1;
    const url = new URL(incoming.url ?? "/", "http://stub");
    const request: StubRequest = {
      method: incoming.method ?? "",
      name: decodeURIComponent(url.pathname.slice(BUCKET.length)),
      query: url.searchParams,
      headers: incoming.headers,
      body: Buffer.concat(pieces),
    };
    requests.push(request);
    const fault = stub.fault(request, requests.length);
    if (fault === "hang") return;
    const {
      status,
      headers = {},
      body = "",
    } = typeof fault === "object" && "status" in fault ? failed(fault.status, fault.code) : answer(request);
    if (fault === "lose") {
      response.destroy();
      return;
    }
    response.writeHead(status, request.method === "HEAD" ? headers : { ...headers, "content-length": Buffer.byteLength(body) });
    if (typeof fault === "object" && "breakAfterBytes" in fault) {
      response.write(body.slice(0, fault.breakAfterBytes), () => response.destroy());
      return;
    }
    response.end(request.method === "HEAD" ? undefined : body);
  }

  const server = createServer((incoming, response) => {
    serve(incoming, response).catch((error: unknown) => response.destroy(error as Error));
  });
  await new Promise<void>((resolve) => void server.listen(0, "127.0.0.1", resolve));
  const stub: S3Stub = {
    endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    objects,
    multiparts,
    requests,
    mostUploads: () => mostUploads,
    fault: () => undefined,
    close: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => void server.close(resolve));
    },
  };
  return stub;
}
