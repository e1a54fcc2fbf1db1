// The master key's file: it is read, or created completely and once. Not here: what the key encrypts (seal.ts).
import { randomBytes } from "node:crypto";
import { link, open, readFile, rm } from "node:fs/promises";
import { dirname } from "node:path";
import { syncDirectory } from "../platform/directory-sync.ts";
import { MASTER_KEY_BYTES } from "./seal.ts";

/** Parses a master key of 64 hexadecimal or 43-44 base64 characters; throws otherwise. The message never contains the text. */
export function parseMasterKey(text: string): Uint8Array {
  const trimmed = text.trim();
  if (/^[0-9a-fA-F]{64}$/.test(trimmed)) return Buffer.from(trimmed, "hex");
  if (/^[A-Za-z0-9+/_-]{43}=?$/.test(trimmed)) return Buffer.from(trimmed, "base64");
  throw new Error(`the secret key is not ${MASTER_KEY_BYTES} bytes in hexadecimal or base64`);
}

/** The key in the file at `path`, or undefined where there is none. */
export async function findMasterKey(path: string): Promise<Uint8Array | undefined> {
  const found = await readIfThere(path);
  return found === undefined ? undefined : parseMasterKey(found);
}

/** The key in the file at `path`, which is created with mode 0600 if it is missing; of processes that start together, one creates it. */
export async function loadOrCreateMasterKey(path: string): Promise<Uint8Array> {
  const found = await readIfThere(path);
  if (found !== undefined) return parseMasterKey(found);
  // Written and synced under another name first, then linked: nobody ever reads half a key, and `link` does not replace another's.
  const temporary = `${path}.${randomBytes(8).toString("hex")}`;
  const file = await open(temporary, "wx", 0o600);
  try {
    await file.writeFile(`${randomBytes(MASTER_KEY_BYTES).toString("hex")}\n`);
    await file.sync();
  } finally {
    await file.close();
  }
  try {
    await link(temporary, path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
  } finally {
    await rm(temporary, { force: true });
  }
  await syncDirectory(dirname(path));
  return parseMasterKey(await readFile(path, "utf8"));
}

async function readIfThere(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}
