// A real OpenID provider (oidc-provider) in this process, which signs in whoever a test names, and a browser that goes back and forth. Not here: the
// registry (registry.testing.ts).
import assert from "node:assert/strict";
import { createServer, type RequestListener } from "node:http";
import type { AddressInfo } from "node:net";

/** What the provider knows of somebody. */
export interface Person {
  readonly preferred_username: string;
  readonly email?: string;
  readonly groups?: readonly string[];
}

/** A provider whose address is known before it knows its clients. */
export interface OpenidProvider {
  readonly issuer: string;
  /** Who signs in next; empty: the provider says that he refused. */
  next: string;
  readonly people: Map<string, Person>;
  /** Begins, once the registry's origin is known. */
  begin(registry: string, provider: string): Promise<void>;
  end(): Promise<void>;
}

/** As much of its types as is used. */
interface ProviderClass {
  new (
    issuer: string,
    settings: object,
  ): {
    callback(): RequestListener;
    use(middleware: (ctx: { path: string; req: unknown; res: unknown }, next: () => Promise<void>) => Promise<void>): void;
    interactionDetails(
      req: unknown,
      res: unknown,
    ): Promise<{ prompt: { name: string }; params: { client_id: string; scope: string }; session?: { accountId: string } }>;
    interactionFinished(req: unknown, res: unknown, result: object, options: object): Promise<void>;
    Grant: new (of: { accountId: string; clientId: string }) => { addOIDCScope(scope: string): void; save(): Promise<string> };
  };
}

/** It comes without types. */
const MODULE: string = "oidc-provider";

/** Starts one. */
export async function startOpenidProvider(): Promise<OpenidProvider> {
  let listener: RequestListener = (_, response) => response.writeHead(503).end();
  const server = createServer((request, response) => listener(request, response));
  await new Promise<void>((resolve) => {
    server.listen(0, "127.0.0.1", resolve);
  });
  const issuer = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const people = new Map<string, Person>();
  const self: OpenidProvider = {
    issuer,
    next: "",
    people,
    async begin(registry, name) {
      const { default: Provider } = (await import(MODULE)) as { default: ProviderClass };
      const provider = new Provider(issuer, {
        clients: [
          {
            client_id: "berth",
            client_secret: "berth-secret",
            redirect_uris: [`${registry}/signin/${name}/callback`],
            post_logout_redirect_uris: [`${registry}/signin`],
            backchannel_logout_uri: `${registry}/signin/${name}/logout`,
            backchannel_logout_session_required: true,
          },
        ],
        claims: { openid: ["sub"], email: ["email"], profile: ["preferred_username"], groups: ["groups"] },
        scopes: ["openid", "email", "profile", "groups"],
        features: {
          devInteractions: { enabled: false },
          backchannelLogout: { enabled: true },
          rpInitiatedLogout: {
            enabled: true,
            // As its own page, without the script that sends it.
            logoutSource: async (ctx: { body: string }, form: string) => void (ctx.body = `<!doctype html>${form}`),
            postLogoutSuccessSource: async (ctx: { body: string }) => void (ctx.body = "left"),
          },
        },
        findAccount: (_: unknown, id: string) => {
          const person = people.get(id);
          return person === undefined ? undefined : { accountId: id, claims: () => ({ sub: id, ...person }) };
        },
        interactions: { url: (_: unknown, { uid }: { uid: string }) => `/interaction/${uid}` },
        cookies: { keys: ["k"] },
        // Its own refuses this machine's addresses, and waits two seconds.
        fetch: (url: string, { dispatcher: _dispatcher, signal: _signal, ...rest }: Record<string, unknown>) => fetch(url, rest),
      });
      provider.use(async (ctx, next) => {
        if (!ctx.path.startsWith("/interaction/")) return next();
        const { prompt, params, session } = await provider.interactionDetails(ctx.req, ctx.res);
        if (self.next === "") {
          const refused = { error: "access_denied", error_description: "<b>no</b>" };
          return provider.interactionFinished(ctx.req, ctx.res, refused, { mergeWithLastSubmission: false });
        }
        if (prompt.name === "login")
          return provider.interactionFinished(ctx.req, ctx.res, { login: { accountId: self.next } }, { mergeWithLastSubmission: false });
        const grant = new provider.Grant({ accountId: session!.accountId, clientId: params.client_id });
        grant.addOIDCScope(params.scope);
        return provider.interactionFinished(
          ctx.req,
          ctx.res,
          { consent: { grantId: await grant.save() } },
          { mergeWithLastSubmission: true },
        );
      });
      listener = provider.callback();
    },
    async end() {
      server.closeAllConnections();
      await new Promise((resolve) => {
        server.close(resolve);
      });
    },
  };
  return self;
}

/** A page, where a browser ended. */
export interface Visited {
  readonly url: URL;
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
}

/** A browser: it keeps cookies by host and port, follows redirects, and says where a request comes from. */
export interface TestBrowser {
  readonly cookies: Map<string, Map<string, string>>;
  /** Follows redirects until `stop` says so of an address that is next. */
  open(address: string, stop?: (next: URL) => boolean): Promise<Visited>;
  post(address: string, form: Readonly<Record<string, string>>, from?: string): Promise<Visited>;
}

interface Journey {
  readonly form?: URLSearchParams;
  readonly from?: string;
  readonly stop?: (next: URL) => boolean;
}

/** Makes one. */
export function startBrowser(language = "en"): TestBrowser {
  const cookies = new Map<string, Map<string, string>>();

  async function go(address: string, { form, from, stop = () => false }: Journey): Promise<Visited> {
    let [url, body] = [new URL(address), form];
    for (let hops = 0; hops < 20; hops++) {
      const jar = cookies.get(url.host) ?? new Map<string, string>();
      cookies.set(url.host, jar);
      const answer = await fetch(url, {
        method: body === undefined ? "GET" : "POST",
        redirect: "manual",
        headers: {
          "accept-language": language,
          cookie: [...jar].map(([name, value]) => `${name}=${value}`).join("; "),
          ...(from === undefined ? {} : { origin: from }),
        },
        ...(body === undefined ? {} : { body }),
      });
      for (const set of answer.headers.getSetCookie()) {
        const [name, value] = set.split(";")[0]!.split(/=(.*)/s) as [string, string];
        if (value === "" || /expires=Thu, 01 Jan 1970/i.test(set)) jar.delete(name);
        else jar.set(name, value);
      }
      const location = answer.headers.get("location");
      const next = location === null ? undefined : new URL(location, url);
      if (next === undefined || stop(next))
        return { url: next ?? url, status: answer.status, headers: answer.headers, text: await answer.text() };
      await answer.arrayBuffer();
      [url, body] = [next, undefined];
    }
    return assert.fail(`${address} leads on and on`);
  }

  return {
    cookies,
    open: (address, stop) => go(address, stop === undefined ? {} : { stop }),
    post: (address, form, from = new URL(address).origin) => go(address, { form: new URLSearchParams(form), from }),
  };
}
