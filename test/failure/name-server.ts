// A name server for tests, at port 53 of a network namespace's own loopback, which answers, refuses or is silent for each name; and a
// program's own /etc/resolv.conf that points to it. Linux, as root, inside `runInside` (test/replicas/own-network.ts). Not here: its
// clients.
import { execFile } from "node:child_process";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { ToolUnavailable } from "../tools/install.ts";

/** The answer for a name: an IPv4 address, or a way to fail. */
export type NameAnswer = `${number}.${number}.${number}.${number}` | "nxdomain" | "servfail" | "silence";

/** The server. */
export interface NameServer {
  /** Sets the answer from now on; other names do not exist. */
  set(name: string, answer: NameAnswer): void;
  /** How often a name was requested, with or without success. */
  asked(name: string): number;
  close(): void;
}

const HEADER_BYTES = 12;
const TYPE_A = 1;
/** Source: RFC 1035, 4.1.1: the last four bits of the flags. */
const RCODES = { nxdomain: 3, servfail: 2, noerror: 0 } as const;
const IS_ANSWER = 0x8180;
/** Answers point to the question's name, which follows the header. Source: RFC 1035, 4.1.4. */
const NAME_OF_QUESTION = 0xc000 | HEADER_BYTES;

interface Question {
  readonly name: string;
  readonly type: number;
  /** Where the question ends in its message. */
  readonly end: number;
}

function readQuestion(message: Buffer): Question {
  const labels: string[] = [];
  let at = HEADER_BYTES;
  for (let length = message[at]!; length > 0; length = message[at]!) {
    labels.push(message.toString("latin1", at + 1, at + 1 + length));
    at += 1 + length;
  }
  return { name: labels.join(".").toLowerCase(), type: message.readUInt16BE(at + 1), end: at + 5 };
}

function answerTo(message: Buffer, { type, end }: Question, answer: Exclude<NameAnswer, "silence">): Buffer {
  const rcode = answer === "nxdomain" || answer === "servfail" ? RCODES[answer] : RCODES.noerror;
  // There are no IPv6 addresses: the answer is empty, which does not mean that the name does not exist.
  const hasAddress = rcode === RCODES.noerror && type === TYPE_A;
  const head = Buffer.from(message.subarray(0, end));
  head.writeUInt16BE(IS_ANSWER | rcode, 2);
  head.writeUInt16BE(hasAddress ? 1 : 0, 6);
  // No authority, nothing additional.
  head.writeUInt32BE(0, 8);
  if (!hasAddress) return head;
  const record = Buffer.alloc(16);
  record.writeUInt16BE(NAME_OF_QUESTION, 0);
  record.writeUInt16BE(TYPE_A, 2);
  record.writeUInt16BE(1, 4);
  // A TTL of 0 seconds: nobody may cache it.
  record.writeUInt32BE(0, 6);
  record.writeUInt16BE(4, 10);
  record.set(answer.split(".").map(Number), 12);
  return Buffer.concat([head, record]);
}

/** Starts the server at 127.0.0.1:53. */
export async function startNameServer(): Promise<NameServer> {
  const answers = new Map<string, NameAnswer>();
  const counts = new Map<string, number>();
  const socket = createSocket("udp4");
  socket.on("message", (message, from) => {
    const question = readQuestion(message);
    counts.set(question.name, (counts.get(question.name) ?? 0) + 1);
    const answer = answers.get(question.name) ?? "nxdomain";
    if (answer !== "silence") socket.send(answerTo(message, question, answer), from.port, from.address);
  });
  socket.bind(53, "127.0.0.1");
  await once(socket, "listening");
  return {
    set: (name, answer) => void answers.set(name, answer),
    asked: (name) => counts.get(name) ?? 0,
    close: () => void socket.close(),
  };
}

/** The files that tell a program its name server, and the order of look-ups. */
const FILES = ["/etc/resolv.conf", "/etc/nsswitch.conf"].filter((file) => existsSync(file));

/** The beginning of a command that replaces files for the program that follows. */
function withFiles(replacements: readonly string[]): readonly [string, ...string[]] {
  const mounts = FILES.map((file, at) => `mount --bind ${replacements[at]!} ${file}`);
  return ["unshare", "--mount", "sh", "-c", [...mounts, 'exec "$@"'].join(" && "), "sh"];
}

/** Errors: ToolUnavailable if files cannot be replaced for a single program. */
export async function requireOwnFiles(): Promise<void> {
  const [command, ...args] = withFiles(FILES);
  try {
    if (FILES.length < 2) throw new Error("/etc has no resolv.conf or no nsswitch.conf");
    await promisify(execFile)(command, [...args, "true"]);
  } catch (error) {
    throw new ToolUnavailable("mount", "no files of its own for a program", true, error);
  }
}

/** The beginning of a command whose program then uses the name server. */
export async function underNameServer(folder: string): Promise<readonly string[]> {
  const replacements = ["resolv.conf", "nsswitch.conf"].map((name) => join(folder, name));
  // One try of a second instead of ten seconds in all: a longer wait would test nothing more.
  await writeFile(replacements[0]!, "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n");
  await writeFile(replacements[1]!, "hosts: files dns\n");
  return withFiles(replacements);
}
