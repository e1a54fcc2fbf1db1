// Which process listens on a port, as far as this user may see it. Linux only; elsewhere none is found. Not here: the message about it.
import { readdir, readFile, readlink, stat } from "node:fs/promises";

/** The state of a listening socket. Source: Linux, include/net/tcp_states.h. */
const LISTEN = "0A";

/** ` (process 4711, node, since …)`, or an empty text. Never rejects: it only extends a message. */
export async function describePortOwner(port: number): Promise<string> {
  try {
    const sockets = await findSockets(port);
    if (sockets.size === 0) return "";
    for (const pid of await readdir("/proc")) {
      if (!/^\d+$/.test(pid) || !(await holdsAny(pid, sockets))) continue;
      const name = (await readFile(`/proc/${pid}/comm`, "utf8")).trim();
      return ` by process ${pid} (${name}), which runs since ${(await stat(`/proc/${pid}`)).ctime.toISOString()}`;
    }
    return " by a process of another user or container";
  } catch {
    return "";
  }
}

async function findSockets(port: number): Promise<ReadonlySet<string>> {
  const wanted = port.toString(16).toUpperCase().padStart(4, "0");
  const found = new Set<string>();
  for (const file of ["/proc/net/tcp", "/proc/net/tcp6"]) {
    for (const line of (await readFile(file, "utf8").catch(() => "")).split("\n")) {
      const [, local, , state, , , , , , inode] = line.trim().split(/\s+/);
      if (state === LISTEN && local?.endsWith(`:${wanted}`) === true) found.add(`socket:[${inode}]`);
    }
  }
  return found;
}

async function holdsAny(pid: string, sockets: ReadonlySet<string>): Promise<boolean> {
  // Other users' processes cannot be read.
  for (const fd of await readdir(`/proc/${pid}/fd`).catch(() => []))
    if (sockets.has(await readlink(`/proc/${pid}/fd/${fd}`).catch(() => ""))) return true;
  return false;
}
