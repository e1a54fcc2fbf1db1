// Signing in by OpenID providers: begun for one browser, ended by the same one once, and logouts that providers send. Not here: the protocol
// (oidc-client.ts), cookies and pages (http/sign-in), what the account becomes (outside-identities.ts).
import type { Clock } from "../platform/clock.ts";
import type { Database } from "../platform/database/database.ts";
import type { Accounts } from "./accounts.ts";
import type { Origin } from "./actor.ts";
import { type OidcChecks, type OidcClient, OidcRefused } from "./oidc-client.ts";
import { isOutsideRefusal, type OutsideRefusal, type OutsideSignIn } from "./outside-identities.ts";
import type { Seal } from "./seal.ts";
import type { BegunSession, Sessions } from "./sessions.ts";
import { useOnce } from "./used-marks.ts";

/** How long somebody may take at the provider. */
export const SIGN_IN_MS = 15 * 60_000;

/** A browser that is sent to a provider. */
interface Begun {
  readonly address: URL;
  /** What the browser keeps meanwhile, in a cookie. */
  readonly kept: string;
}

/** Why nobody was signed in, in words for whoever tried. */
export interface SignInRefusal {
  readonly fault: OidcRefused["fault"] | OutsideRefusal["fault"] | "not-begun" | "used";
  readonly message: string;
}

/** Who has signed in. */
export interface SignedIn {
  readonly session: BegunSession;
  readonly account: string;
  readonly returnTo: string;
}

/** From which browser. */
interface SignInFrom {
  readonly origin: Origin;
  readonly browser: string;
  readonly replaces: { readonly id: number; readonly accountId: number } | undefined;
}

/** Signs in by providers. */
export interface OidcSignIn {
  /** In the order of the settings. */
  readonly clients: ReadonlyMap<string, OidcClient>;
  /** Errors: `OidcRefused`. */
  begin(client: OidcClient, redirectUri: string, returnTo: string): Promise<Begun>;
  /** `answer`: the whole address that the browser comes back to. Errors: the database's. */
  finish(client: OidcClient, answer: URL, kept: string | undefined, from: SignInFrom): Promise<SignedIn | SignInRefusal>;
  /** Takes a provider's logout token: how many sessions ended. Errors: `OidcRefused`. */
  endByProvider(client: OidcClient, token: string): Promise<number>;
}

/** What it takes. */
export interface OidcSignInParts {
  readonly database: Database;
  readonly clock: Clock;
  readonly accounts: Pick<Accounts, "forget">;
  readonly outside: OutsideSignIn;
  readonly sessions: Sessions;
  readonly seal: Seal;
  readonly clients: readonly OidcClient[];
  /** Told why somebody did not sign in. */
  readonly onRefusal?: ((provider: string, refusal: SignInRefusal, cause: unknown) => void) | undefined;
}

interface Kept extends OidcChecks {
  readonly returnTo: string;
  readonly endsAt: number;
}

/** Makes it. */
export function createOidcSignIn(parts: OidcSignInParts): OidcSignIn {
  const { database, clock, accounts, outside, sessions, seal, clients, onRefusal } = parts;

  function openKept(provider: string, kept: string | undefined): Kept | undefined {
    if (kept === undefined) return undefined;
    try {
      // Sealed for one provider: what was begun with another does not open.
      const opened = JSON.parse(seal.open(kept, contextOf(provider))) as Kept;
      return opened.endsAt > clock.now() ? opened : undefined;
    } catch {
      return undefined;
    }
  }

  async function finishOnce(
    client: OidcClient,
    answer: URL,
    kept: string | undefined,
    { origin, browser, replaces }: SignInFrom,
  ): Promise<SignedIn | SignInRefusal> {
    const { provider } = client;
    const begun = openKept(provider.name, kept);
    if (begun === undefined || answer.searchParams.get("state") !== begun.state) return NOT_BEGUN;
    const isFirst = await database.transaction((tx) => useOnce(tx, ["sign-in", provider.name, begun.state], begun.endsAt, clock.now()));
    if (!isFirst) return USED;
    const { identity, idToken, sid } = await client.finish(answer, begun);
    const via = { kind: "oidc", issuer: provider.issuer } as const;
    const account = await outside.signIn(identity, provider.policy, { origin, via });
    if (isOutsideRefusal(account)) return account;
    const vouched = { provider: provider.name, subject: identity.subject, sid, idToken };
    const session = await sessions.begin({ account, via, origin, browser, vouched, replaces });
    return { session, account: account.name, returnTo: begun.returnTo };
  }

  return {
    clients: new Map(clients.map((client) => [client.provider.name, client])),
    async begin(client, redirectUri, returnTo) {
      const { address, checks } = await client.begin(redirectUri);
      const kept: Kept = { ...checks, returnTo, endsAt: clock.now() + SIGN_IN_MS };
      return { address, kept: seal.seal(JSON.stringify(kept), contextOf(client.provider.name)) };
    },
    async finish(client, answer, kept, from) {
      let cause: unknown;
      const result = await finishOnce(client, answer, kept, from).catch((error: unknown): SignInRefusal => {
        if (!(error instanceof OidcRefused)) throw error;
        cause = error;
        return { fault: error.fault, message: error.message };
      });
      if (isSignInRefusal(result)) onRefusal?.(client.provider.name, result, cause);
      return result;
    },
    async endByProvider(client, token) {
      const { provider } = client;
      const { jti, endsAt, ...which } = await client.readLogoutToken(token);
      const ended = await database.transaction(async (tx) => {
        if (!(await useOnce(tx, ["logout", provider.name, provider.issuer, jti], endsAt, clock.now()))) return undefined;
        return sessions.endOfProvider(tx, provider.name, which);
      });
      if (ended === undefined) throw new OidcRefused("answer-wrong", "the logout token was used before");
      if (ended > 0) accounts.forget({});
      return ended;
    },
  };
}

/** Whether nobody was signed in. */
export function isSignInRefusal(result: SignedIn | SignInRefusal): result is SignInRefusal {
  return "fault" in result;
}

const NOT_BEGUN: SignInRefusal = {
  fault: "not-begun",
  message: "this sign-in was not begun in this browser, or too long ago: begin again",
};
const USED: SignInRefusal = { fault: "used", message: "this sign-in was used before: begin again" };

function contextOf(provider: string): string {
  return `sign-in ${provider}`;
}
