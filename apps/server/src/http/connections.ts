// The open connections, and which of them are closed when their limit is reached: idle ones first, then those that never carried a request
// or hold a body that nobody reads, then the slowest of an address that holds more than its share. Not here: requests (limits.ts).
import type { Server, ServerResponse } from "node:http";
import type { Socket } from "node:net";
import { addressGroup } from "../access/login-failures.ts";
import type { Party } from "./preemption.ts";

/** The latest request of a connection. */
export interface Newest {
  response: ServerResponse;
  /** Undefined until the request is accepted. */
  party: Party | undefined;
}

/** The open connections. */
export interface Connections {
  /** All connections, including those whose TLS handshake has not finished. */
  readonly open: ReadonlySet<Socket>;
  /** The sockets that carry requests: with TLS, the socket that the handshake created, not the plain connection. */
  readonly carriers: ReadonlySet<Socket>;
  /** Records the latest request of a connection. */
  note(socket: Socket, response: ServerResponse): Newest;
  newestOf(socket: Socket): Newest | undefined;
  /** How many were closed to make room. */
  readonly closed: number;
}

/** The limits of connections. */
export interface ConnectionOptions {
  readonly max: number;
  readonly isTls: boolean;
  /** Called when the limit is reached, at most once a second. */
  readonly onFull: (connections: number) => void;
}

/** Scanning all connections takes time, and a flood must not make the server do nothing else. */
const MAKE_ROOM_EVERY_MS = 100;
/** The percentage closed at a time: during a flood many connections arrive between two scans. */
const ROOM_PERCENT = 2;
/** A connection that was just opened is about to send its first request. */
const UNUSED_MS = 1_000;
const REPORT_EVERY_MS = 1_000;

interface Open {
  readonly source: string;
  readonly since: number;
  /** Undefined while the TLS handshake runs. */
  carrier: Socket | undefined;
}

/** Listed in the order in which they are closed. */
type Standing = "idle" | "useless" | "busy";

/** Starts to watch a server's connections. */
export function watchConnections(server: Server, { max, isTls, onFull }: ConnectionOptions): Connections {
  const open = new Map<Socket, Open>();
  const carriers = new Set<Socket>();
  // The plain connection and the TLS socket on it share the remote address and port.
  const shaking = new Map<string, Open>();
  const newest = new WeakMap<Socket, Newest>();
  const sockets = new Set<Socket>();
  let closed = 0;
  let madeRoomAt = -Infinity;
  let reportedAt = -Infinity;

  server.on("connection", (socket: Socket) => {
    const one: Open = { source: addressGroup(socket.remoteAddress ?? ""), since: performance.now(), carrier: isTls ? undefined : socket };
    const key = endpointOf(socket);
    open.set(socket, one);
    sockets.add(socket);
    if (isTls) shaking.set(key, one);
    else carriers.add(socket);
    socket.on("close", () => {
      open.delete(socket);
      sockets.delete(socket);
      carriers.delete(socket);
      if (shaking.get(key) === one) shaking.delete(key);
    });
    // Room is made before the next connection arrives.
    if (open.size >= max) makeRoom();
  });
  server.on("secureConnection", (socket: Socket) => {
    const one = shaking.get(endpointOf(socket));
    if (one !== undefined) one.carrier = socket;
    carriers.add(socket);
    socket.on("close", () => carriers.delete(socket));
  });
  server.on("drop", makeRoom);

  function standingOf({ carrier, since }: Open, now: number): Standing | undefined {
    const last = carrier === undefined ? undefined : newest.get(carrier);
    if (last === undefined) return now - since >= UNUSED_MS ? "useless" : undefined;
    const { response } = last;
    if (!response.writableFinished && !response.closed) return "busy";
    return response.req.complete ? "idle" : "useless";
  }

  function makeRoom(): void {
    const now = performance.now();
    if (now - madeRoomAt < MAKE_ROOM_EVERY_MS) return;
    madeRoomAt = now;
    if (now - reportedAt >= REPORT_EVERY_MS) {
      reportedAt = now;
      onFull(open.size);
    }
    const held = new Map<string, number>();
    for (const { source } of open.values()) held.set(source, (held.get(source) ?? 0) + 1);
    const fairShare = Math.max(1, max / held.size);
    const rank: Readonly<Record<Standing, number>> = { idle: 0, useless: 1, busy: 2 };
    const found = [...open].flatMap(([socket, one]) => {
      const standing = standingOf(one, now);
      if (standing === undefined) return [];
      const transfer = one.carrier === undefined ? undefined : newest.get(one.carrier)?.party?.transfer;
      // A busy connection is spared unless its address holds more than the fair share.
      if (standing === "busy" && (held.get(one.source)! <= fairShare || transfer?.waitsSince === undefined)) return [];
      return [
        { socket, source: one.source, standing, isUpload: transfer?.kind === "upload", rate: transfer?.rate(now) ?? 0, since: one.since },
      ];
    });
    found.sort(
      (one, other) =>
        rank[one.standing] - rank[other.standing] ||
        held.get(other.source)! - held.get(one.source)! ||
        Number(one.isUpload) - Number(other.isUpload) ||
        one.rate - other.rate ||
        one.since - other.since,
    );
    let wanted = Math.max(1, Math.floor((max * ROOM_PERCENT) / 100));
    for (const { socket, source, standing } of found) {
      if (wanted === 0) return;
      const left = held.get(source)!;
      if (standing === "busy" && left <= fairShare) continue;
      held.set(source, left - 1);
      wanted--;
      closed++;
      socket.destroy();
    }
  }

  return {
    open: sockets,
    carriers,
    note(socket, response) {
      let last = newest.get(socket);
      if (last === undefined) newest.set(socket, (last = { response, party: undefined }));
      else {
        last.response = response;
        last.party = undefined;
      }
      return last;
    },
    newestOf: (socket) => newest.get(socket),
    get closed() {
      return closed;
    },
  };
}

function endpointOf(socket: Socket): string {
  return `${socket.remoteAddress} ${socket.remotePort}`;
}
