// The server's certificate and key: loaded at the start, and again when the files change. Not here: the server that uses them.
import { createPrivateKey, X509Certificate } from "node:crypto";
import { readFile, stat } from "node:fs/promises";
import { createSecureContext, type Server } from "node:tls";
import type { Logger } from "./log.ts";
import { StartupError } from "./startup-error.ts";

/** A certificate with its chain, and its key, both PEM. */
export interface KeyPair {
  readonly cert: Buffer;
  readonly key: Buffer;
}

/** A key pair that follows its files. */
export interface ReloadingKeyPair {
  /** The pair in use, for creating a server. */
  current(): KeyPair;
  /** When the certificate in use ends. */
  expiresAt(): Date;
  /** New connections of this server use each new pair; running ones keep theirs. */
  attach(server: Pick<Server, "setSecureContext">): void;
  /** Looks at the files now, as the poll does; never rejects. */
  poll(): Promise<void>;
  close(): void;
}

/** Where the pair lies, and how often to look. */
export interface KeyPairOptions {
  readonly certificateFile: string;
  readonly keyFile: string;
  readonly logger: Logger;
  /** Stat polling sees what file watching misses: mounted volumes, and Kubernetes swapping a symlink above the files. */
  readonly pollMs?: number;
}

interface Loaded extends KeyPair {
  readonly expiresAt: Date;
}

/** A certificate is replaced days before it ends; ten seconds are soon enough, and two stats cost nothing. */
const POLL_MS = 10_000;

/** Loads the pair and follows it. Files that are wrong later are logged once and the old pair stays. Errors: `StartupError`. */
export async function openKeyPair(options: KeyPairOptions): Promise<ReloadingKeyPair> {
  const { certificateFile, keyFile, logger } = options;
  const servers: Pick<Server, "setSecureContext">[] = [];
  let seen: string;
  let loaded: Loaded;
  try {
    // Looked at before reading: a change in between is seen by the next poll.
    seen = await fingerprint(options);
    loaded = await load(options);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new StartupError(
      `Cannot use the certificate ${certificateFile} with the key ${keyFile} (http.tls.certificateFile, http.tls.keyFile): ${reason}`,
      { cause: error },
    );
  }
  warnWhenExpired();

  function warnWhenExpired(): void {
    if (loaded.expiresAt.getTime() < Date.now())
      logger.warn({ certificateFile, expiresAt: loaded.expiresAt }, "the TLS certificate has expired");
  }

  async function poll(): Promise<void> {
    try {
      const now = await fingerprint(options);
      if (now === seen) return;
      seen = now;
      loaded = await load(options);
      for (const server of servers) server.setSecureContext({ cert: loaded.cert, key: loaded.key });
      logger.info({ certificateFile, expiresAt: loaded.expiresAt }, "the TLS certificate was loaded again");
      warnWhenExpired();
    } catch (error) {
      // Also the moment between two files of a pair being replaced: the second change is polled again.
      logger.error({ err: error, certificateFile, keyFile }, "the new TLS certificate or key cannot be used; the old one stays");
    }
  }

  let running: Promise<void> | undefined;
  const timer = setInterval(() => {
    running ??= poll().finally(() => (running = undefined));
  }, options.pollMs ?? POLL_MS);
  timer.unref();
  return {
    current: () => ({ cert: loaded.cert, key: loaded.key }),
    expiresAt: () => loaded.expiresAt,
    attach: (server) => void servers.push(server),
    poll,
    close: () => clearInterval(timer),
  };
}

/** What changes when a file is written, replaced, or another one takes its place behind a symlink; a missing file counts too. */
async function fingerprint({ certificateFile, keyFile }: KeyPairOptions): Promise<string> {
  const parts = await Promise.all(
    [certificateFile, keyFile].map(async (file) => {
      try {
        const { ino, size, mtimeNs } = await stat(file, { bigint: true });
        return `${ino}:${size}:${mtimeNs}`;
      } catch (error) {
        return (error as NodeJS.ErrnoException).code ?? "unreadable";
      }
    }),
  );
  return parts.join(" ");
}

/** What the library says is for those who know it. */
function wordsFor<T>(words: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    throw new Error(`${words} (${(error as Error).message})`, { cause: error });
  }
}

/** Reads the pair and proves that the two belong together. */
async function load({ certificateFile, keyFile }: KeyPairOptions): Promise<Loaded> {
  const [cert, key] = await Promise.all([readFile(certificateFile), readFile(keyFile)]);
  const certificate = wordsFor(`${certificateFile} holds no certificate in PEM form`, () => new X509Certificate(cert));
  const privateKey = wordsFor(`${keyFile} holds no private key in PEM form without a passphrase`, () => createPrivateKey(key));
  if (!certificate.checkPrivateKey(privateKey))
    throw new Error(`the key in ${keyFile} is not that of the certificate in ${certificateFile}`);
  createSecureContext({ cert, key });
  return { cert, key, expiresAt: new Date(certificate.validTo) };
}
