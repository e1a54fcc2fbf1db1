// CPU seconds and memory of a process and everything it started, from /proc. Linux only: elsewhere the figures are
// undefined and the table shows "-". Starting and stopping processes is in registries.ts.
import { readFileSync, readdirSync, writeFileSync } from "node:fs";

/** What a process tree has used: CPU in seconds since its start, memory in bytes (sum over the tree). */
export interface ProcessUsage {
  readonly cpuSeconds: number;
  readonly residentBytes: number;
  readonly peakBytes: number;
}

/** Linux shows process times to user space in ticks of 1/100 s on every architecture (USER_HZ). */
const ticksPerSecond = 100;

interface Stat {
  readonly parent: number;
  readonly ticks: number;
}

/** The usage of a process and its descendants now, or undefined where /proc does not have it. */
export function readProcessUsage(pid: number): ProcessUsage | undefined {
  let ticks = 0;
  let residentBytes = 0;
  let peakBytes = 0;
  const tree = processTree(pid);
  for (const member of tree) {
    const stat = readStat(member);
    const status = readProcFile(member, "status");
    if (stat === undefined || status === undefined) continue;
    ticks += stat.ticks;
    residentBytes += statusBytes(status, "VmRSS");
    peakBytes += statusBytes(status, "VmHWM");
  }
  return tree.length === 0 ? undefined : { cpuSeconds: ticks / ticksPerSecond, residentBytes, peakBytes };
}

/** Who started a process; undefined when it does not run. */
export function parentOf(pid: number): number | undefined {
  return readStat(pid)?.parent;
}

/** Makes the peak memory of a process tree start again from what is resident now; false when that is not allowed. */
export function resetPeakMemory(pid: number): boolean {
  try {
    // 5 is "reset the peak resident set size". Source: proc_pid_clear_refs(5).
    for (const member of processTree(pid)) writeFileSync(`/proc/${member}/clear_refs`, "5");
    return true;
  } catch {
    return false; // Not root, or not Linux: the peak is then the one since the start, which is never flattering.
  }
}

/** Sends a signal to a process and its descendants; those that ended meanwhile are passed over. */
export function signalTree(pid: number, signal: NodeJS.Signals): void {
  for (const member of processTree(pid)) {
    try {
      process.kill(member, signal);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
    }
  }
}

/** The process and its descendants, parents first; empty when it does not run. */
function processTree(pid: number): number[] {
  const children = new Map<number, number[]>();
  for (const name of listProcesses()) {
    const stat = readStat(name);
    if (stat === undefined) continue;
    const siblings = children.get(stat.parent);
    if (siblings === undefined) children.set(stat.parent, [name]);
    else siblings.push(name);
  }
  const tree = readStat(pid) === undefined ? [] : [pid];
  for (let at = 0; at < tree.length; at++) tree.push(...(children.get(tree[at] ?? 0) ?? []));
  return tree;
}

function listProcesses(): number[] {
  try {
    return readdirSync("/proc").map(Number).filter(Number.isInteger);
  } catch {
    return [];
  }
}

function readStat(pid: number): Stat | undefined {
  const text = readProcFile(pid, "stat");
  if (text === undefined) return undefined;
  // The command's name may hold spaces and parentheses: count the fields from its last ")". Field 4 is the parent,
  // 14 to 17 are user and system time of the process and of its children that have ended.
  const fields = text
    .slice(text.lastIndexOf(")") + 2)
    .split(" ")
    .map(Number);
  const ticks = fields.slice(11, 15).reduce((sum, value) => sum + value, 0);
  return { parent: fields[1] ?? 0, ticks };
}

function readProcFile(pid: number, name: string): string | undefined {
  try {
    return readFileSync(`/proc/${pid}/${name}`, "latin1");
  } catch {
    return undefined; // It ended between the listing and this read.
  }
}

function statusBytes(status: string, field: string): number {
  return Number(new RegExp(`^${field}:\\s+(\\d+) kB`, "m").exec(status)?.[1] ?? 0) * 1024;
}
