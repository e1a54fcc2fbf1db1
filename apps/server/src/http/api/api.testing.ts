// The control plane behind a real HTTP server, with a client that checks every answer against its operation's schema.
import assert from "node:assert/strict";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { API_PREFIX } from "@berth/api/operation";
import type { Operation } from "@berth/api/operation";
import { OPERATIONS } from "@berth/api/operations";
import { pino } from "pino";
import { Compile } from "typebox/compile";
import { basic, createTestAccess, type TestAccess } from "../../access/access.testing.ts";
import type { AccountChange } from "../../access/account-changes.ts";
import type { ChangeSink } from "../../access/changes.ts";
import { NOBODY_WANTS } from "../../content/content.testing.ts";
import { createTestFeatures } from "../../features/features.testing.ts";
import type { Clock } from "../../platform/clock.ts";
import type { Database } from "../../platform/database/database.ts";
import { createRefuseOtherSites, createRequireOwnPage, type OtherSitesParts } from "../browsers.ts";
import { sendError } from "../error-response.ts";
import { createTransfer } from "../transfer-rate.ts";
import { createRequestRecord } from "../request-log.ts";
import { createApi } from "./api.ts";

/** An answer, as a test looks at it. */
export interface TestAnswer {
  readonly status: number;
  /** The first error's code; empty where there is none. */
  readonly code: string;
  // oxlint-disable-next-line typescript/no-explicit-any -- checked against the operation's schema at run time
  readonly body: any;
  readonly headers: Headers;
}

/** A running control plane. */
export interface TestApi {
  readonly access: TestAccess;
  readonly origin: string;
  /** Sends a request as somebody: `[name, secret]`, or undefined for anonymous. */
  call(
    as: readonly [string, string] | undefined,
    method: string,
    path: string,
    body?: unknown,
    headers?: Readonly<Record<string, string>>,
  ): Promise<TestAnswer>;
  end(): Promise<void>;
}

const SITES: OtherSitesParts = { addressOf: ({ headers }) => ({ scheme: "http", host: headers.host }), publicUrl: undefined };

/** Starts one replica's control plane. */
export async function startTestApi(database: Database, clock: Clock, changes: ChangeSink<AccountChange> = NOBODY_WANTS): Promise<TestApi> {
  const access = createTestAccess(database, clock);
  const handler = await createApi({
    ...access,
    features: createTestFeatures(access, database, clock, changes),
    logger: pino({ level: "silent" }),
    stallMs: 5_000,
    stopping: new AbortController().signal,
    refuseOtherSites: createRefuseOtherSites(SITES),
    requireOwnPage: createRequireOwnPage(SITES),
    isSecure: () => false,
    addressOf: (request) => ({ remoteAddress: request.socket.remoteAddress ?? "" }),
    transferOf: (kind) => createTransfer({ kind, bytesPerSecond: 0, windowMs: 1 }),
  });
  const listener = (request: IncomingMessage, response: ServerResponse): void =>
    void handler(request, response, {
      id: "test-request",
      record: createRequestRecord(),
      party: { source: "test", isAnonymous: false, transfer: undefined },
    }).catch((error: unknown) => sendError(request, response, error));
  // As the real server: Node would ask for every body.
  const server = createServer(listener).on("checkContinue", listener);
  await new Promise<void>((resolve) => {
    server.listen(0, "127.0.0.1", resolve);
  });
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return {
    access,
    origin,
    async call(as, method, path, body, headers) {
      const response = await fetch(`${origin}${API_PREFIX}${path}`, {
        method,
        headers: {
          ...(as === undefined ? {} : { authorization: basic(...as) }),
          ...(body === undefined ? {} : { "content-type": "application/json" }),
          ...headers,
        },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      });
      const text = await response.text();
      const operation = OPERATIONS.find((each) => each.method === method && matches(each, path));
      const isStream = operation?.stream !== undefined && response.ok;
      const parsed: unknown = isStream || text === "" ? text || undefined : JSON.parse(text);
      if (operation !== undefined && response.ok && !isStream) checkAnswer(operation, response.status, parsed);
      if (response.status === 401) assert.match(response.headers.get("www-authenticate") ?? "", /^Basic realm="Berth"/);
      const code = (parsed as { errors?: { code: string }[] } | undefined)?.errors?.[0]?.code ?? "";
      assert.equal(code === "", response.ok || response.status === 304, text);
      if (operation !== undefined && code !== "") checkCode(operation, code);
      return { status: response.status, code, body: parsed, headers: response.headers };
    },
    async end() {
      server.closeAllConnections();
      await new Promise((resolve) => {
        server.close(resolve);
      });
    },
  };
}

function matches(operation: Operation, path: string): boolean {
  const [plain = ""] = path.split("?");
  // "/users/me" is an operation of its own, found before "/users/{user}".
  return new RegExp(`^${operation.path.replaceAll(/\{\w+\}/g, "[^/]+")}$`).test(plain);
}

function checkAnswer(operation: Operation, status: number, body: unknown): void {
  assert.equal(status, operation.status, operation.id);
  if (operation.answer === undefined) {
    assert.equal(body, undefined, operation.id);
    return;
  }
  const validator = Compile(operation.answer);
  assert.ok(validator.Check(body), `${operation.id}: ${JSON.stringify(validator.Errors(body))}`);
}

const EVERYWHERE = new Set([
  "FIELD_INVALID",
  "UNAUTHORIZED",
  "DENIED",
  "TOOMANYREQUESTS",
  "BODY_INVALID",
  "UNSUPPORTED",
  "BODY_TOO_LARGE",
  "MEDIA_TYPE_UNSUPPORTED",
  "CROSS_SITE_REFUSED",
  "PRECONDITION_UNSUPPORTED",
  "REQUEST_INVALID",
]);

// An error that the document does not promise is a defect of one of the two.
function checkCode(operation: Operation, code: string): void {
  assert.ok(
    EVERYWHERE.has(code) ||
      (operation.errors as readonly string[]).includes(code) ||
      (operation.revision === "write" && code === "PRECONDITION_FAILED") ||
      (operation.stream !== undefined && code === "NOT_ACCEPTABLE"),
    `${operation.id} answered ${code}, which it does not declare`,
  );
}
