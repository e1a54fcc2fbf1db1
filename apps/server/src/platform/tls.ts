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

/** A key pair that is reloaded when its files change. */
export interface ReloadingKeyPair {
  /** The pair in use, for creating a server. */
  current(): KeyPair;
  /** When the present certificate expires. */
  expiresAt(): Date;
  /** New connections of this server use each new pair; open ones keep theirs. */
  attach(server: Pick<Server, "setSecureContext">): void;
  /** Checks the files now, as the poll does; never rejects. */
  poll(): Promise<void>;
  close(): void;
}

/** The files of the pair, and how often they are checked. */
export interface KeyPairOptions {
  readonly certificateFile: string;
  readonly keyFile: string;
  readonly logger: Logger;
  /** Polling with stat detects what file watching misses: mounted volumes, and Kubernetes swapping a symlink above the files. */
  readonly pollMs?: number;
}

interface Loaded extends KeyPair {
  readonly expiresAt: Date;
}

/** A certificate is replaced days before it expires; ten seconds are soon enough, and two stats cost nothing. */
const POLL_MS = 10_000;

/**
 * Loads the pair and reloads it after changes. If the files are wrong later, that is logged once and the old pair stays. Errors:
 * `StartupError`.
 */
export async function openKeyPair(options: KeyPairOptions): Promise<ReloadingKeyPair> {
  const { certificateFile, keyFile, logger } = options;
  const servers: Pick<Server, "setSecureContext">[] = [];
  let seen: string;
  let loaded: Loaded;
  try {
    // Read before the files: a change in between is seen by the next poll.
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
      // This may also be the moment between the replacement of the pair's two files: the second change is polled again.
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

/** It changes when a file is written or replaced, or when another one takes its place behind a symlink; a missing file counts too. */
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

/** The library's own message is only clear to experts. */
function wordsFor<T>(words: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    throw new Error(`${words} (${(error as Error).message})`, { cause: error });
  }
}

/** Reads the pair and checks that the two belong together. */
async function load({ certificateFile, keyFile }: KeyPairOptions): Promise<Loaded> {
  const [cert, key] = await Promise.all([readFile(certificateFile), readFile(keyFile)]);
  const certificate = wordsFor(`${certificateFile} holds no certificate in PEM form`, () => new X509Certificate(cert));
  const privateKey = wordsFor(`${keyFile} holds no private key in PEM form without a passphrase`, () => createPrivateKey(key));
  if (!certificate.checkPrivateKey(privateKey))
    throw new Error(`the key in ${keyFile} is not that of the certificate in ${certificateFile}`);
  createSecureContext({ cert, key });
  return { cert, key, expiresAt: new Date(certificate.validTo) };
}
