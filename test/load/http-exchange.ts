// One HTTP request and its answer over a kept-alive agent, and the token flow that any registry's challenge asks for.
// What a registry's requests mean is in registry-session.ts; reads at full speed are in raw-client.ts and wrk.ts.
import { Agent as HttpAgent, request as httpRequest } from "node:http";
import type { IncomingHttpHeaders } from "node:http";
import { Agent as HttpsAgent, request as httpsRequest } from "node:https";

/** A user's name and password. */
export interface Credentials {
  readonly user: string;
  readonly password: string;
}

/** A request; the body's parts are sent one after the other and their length is declared. */
export interface Exchange {
  readonly method: string;
  readonly url: URL;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: readonly Buffer[];
}

/** An answer with its whole body. */
export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
}

/** An answer that is not the expected one: its status, and the request it came to. */
export class UnexpectedAnswer extends Error {
  override readonly name = "UnexpectedAnswer";
  readonly status: number;

  constructor(request: Exchange, answer: Answer) {
    // Enough of the body for an error list, not for a page of HTML.
    const text = answer.body.toString("utf8", 0, 300);
    super(`${request.method} ${request.url.pathname} answered ${answer.status}: ${text}`);
    this.status = answer.status;
  }
}

/** Keeps up to `connections` connections open to one registry. */
export function createAgent(base: URL, connections: number): HttpAgent {
  const options = { keepAlive: true, maxSockets: connections, maxFreeSockets: connections };
  return base.protocol === "https:" ? new HttpsAgent(options) : new HttpAgent(options);
}

/** Sends one request and reads the whole answer. Errors: UnexpectedAnswer when the status is not among `expected`. */
export async function exchange(agent: HttpAgent, sent: Exchange, expected: readonly number[]): Promise<Answer> {
  const answer = await send(agent, sent);
  if (!expected.includes(answer.status)) throw new UnexpectedAnswer(sent, answer);
  return answer;
}

function send(agent: HttpAgent, sent: Exchange): Promise<Answer> {
  const request = sent.url.protocol === "https:" ? httpsRequest : httpRequest;
  const length = sent.body?.reduce((sum, part) => sum + part.length, 0);
  const headers = length === undefined ? { ...sent.headers } : { ...sent.headers, "content-length": String(length) };
  return new Promise((resolve, reject) => {
    const outgoing = request(
      {
        agent,
        method: sent.method,
        host: sent.url.hostname,
        port: sent.url.port,
        path: sent.url.pathname + sent.url.search,
        headers,
      },
      (incoming) => {
        const parts: Buffer[] = [];
        incoming.on("data", (part: Buffer) => parts.push(part));
        incoming.once("end", () =>
          resolve({
            status: incoming.statusCode ?? 0,
            headers: incoming.headers,
            body: Buffer.concat(parts),
          }),
        );
        incoming.once("error", reject);
      },
    );
    outgoing.once("error", reject);
    // A stuck server must not hang the whole run; two minutes are far above any answer measured here.
    outgoing.setTimeout(120_000, () => outgoing.destroy(new Error(`${sent.url.pathname}: no answer in 120 s`)));
    for (const part of sent.body ?? []) outgoing.write(part);
    outgoing.end();
  });
}

/** Gives the Authorization header for a scope such as `repository:a/b:pull`; undefined when none is asked for. */
export type Authorizer = (scope: string) => Promise<string | undefined>;

/**
 * Follows the registry's own challenge on /v2/: Basic, or Bearer with a token fetched once a scope and again well
 * before it expires. Source: distribution-spec's reference to the token authentication specification.
 */
export function createAuthorizer(agent: HttpAgent, base: URL, credentials: Credentials | undefined): Authorizer {
  const tokens = new Map<string, { readonly value: Promise<Token> }>();
  let challenge: Promise<Challenge | undefined> | undefined;
  const basic = credentials && `Basic ${Buffer.from(`${credentials.user}:${credentials.password}`, "utf8").toString("base64")}`;

  const fetchToken = async (asked: Challenge, scope: string): Promise<Token> => {
    const url = new URL(asked.realm);
    if (asked.service !== undefined) url.searchParams.set("service", asked.service);
    url.searchParams.set("scope", scope);
    const headers = basic === undefined ? {} : { authorization: basic };
    const answer = await exchange(agent, { method: "GET", url, headers }, [200]);
    const reply = JSON.parse(answer.body.toString("utf8")) as Record<string, unknown>;
    const token = reply["token"] ?? reply["access_token"];
    if (typeof token !== "string") throw new Error(`${url.origin}${url.pathname}: no token in the answer`);
    // 60 s is the specification's default; a third of the life is left for the run that begins with this token.
    const life = typeof reply["expires_in"] === "number" ? reply["expires_in"] : 60;
    return { header: `Bearer ${token}`, refreshAt: Date.now() + (life * 1000 * 2) / 3 };
  };

  return async (scope) => {
    challenge ??= readChallenge(agent, base);
    const asked = await challenge;
    if (asked === undefined) return undefined;
    if (asked.scheme === "basic") return basic;
    const known = await tokens.get(scope)?.value;
    if (known !== undefined && Date.now() < known.refreshAt) return known.header;
    const value = fetchToken(asked, scope);
    tokens.set(scope, { value });
    return (await value).header;
  };
}

interface Token {
  readonly header: string;
  readonly refreshAt: number;
}

interface Challenge {
  readonly scheme: "basic" | "bearer";
  readonly realm: string;
  readonly service: string | undefined;
}

async function readChallenge(agent: HttpAgent, base: URL): Promise<Challenge | undefined> {
  const answer = await exchange(agent, { method: "GET", url: new URL("/v2/", base) }, [200, 401]);
  if (answer.status === 200) return undefined;
  const header = answer.headers["www-authenticate"] ?? "";
  const parameters = new Map([...header.matchAll(/(\w+)="([^"]*)"/g)].map((match) => [match[1], match[2]]));
  if (/^basic/i.test(header)) return { scheme: "basic", realm: "", service: undefined };
  const realm = parameters.get("realm");
  if (realm === undefined) throw new Error(`${base.origin}: 401 without a usable challenge: ${header}`);
  return { scheme: "bearer", realm: new URL(realm, base).href, service: parameters.get("service") };
}
