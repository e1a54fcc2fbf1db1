// Authentication and authorization: accounts, tokens, passwords, and the two services that requests use. Opening it checks the secret key
// and creates the administrator at the very first start. Not here: the rules (access/), the callers (data-plane.ts, server.ts).
import { isReported, RegistryError } from "@berth/oci/errors";
import type { AccountChange } from "../access/account-changes.ts";
import { createAccounts, type Accounts } from "../access/accounts.ts";
import { createAuthenticator, type Authenticator } from "../access/authenticate.ts";
import { createAuthorizer, type Authorizer, type SystemAuthorizer } from "../access/authorize.ts";
import { bootstrap } from "../access/bootstrap.ts";
import type { ChangeSink } from "../access/changes.ts";
import { type FirstPushParts, withFirstPushTokens } from "../access/first-push.ts";
import { createIssuerKeys, type FetchJson, type IssuerKeys } from "../access/issuer-keys.ts";
import { createCredentialUse, type CredentialUse } from "../access/credential-use.ts";
import { createLoginFailures, type LoginFailures, type LoginLock } from "../access/login-failures.ts";
import { createLoginPlaces } from "../access/login-places.ts";
import { createDeviceLogins, type DeviceLogins } from "../access/device-logins.ts";
import { createOidcClient, type ProviderFetch } from "../access/oidc-client.ts";
import { readOidcProviders } from "../access/oidc-providers.ts";
import { createOidcSignIn, type OidcSignIn } from "../access/oidc-sign-in.ts";
import { createOutsideSignIn, type OutsideSignIn } from "../access/outside-identities.ts";
import type { ProjectCreation } from "../access/judge.ts";
import type { ProjectTrait } from "../access/project-traits.ts";
import { createPasswordHasher, type PasswordHasher } from "../access/secrets.ts";
import { createRefreshTokens, type RefreshTokens } from "../access/refresh-tokens.ts";
import { createSeal } from "../access/seal.ts";
import { createSessions, type Sessions } from "../access/sessions.ts";
import { createSigningKeys } from "../access/signing-keys.ts";
import { createTokenExchange, type TokenExchange } from "../access/token-exchange.ts";
import { createTokens, type Tokens } from "../access/tokens.ts";
import { traceAuthenticator, traceAuthorizer } from "../access/traced-access.ts";
import { countExchanges, countLoginFailures, countLoginLocks } from "../http/server-metrics.ts";
import { DAY_MS, HOUR_MS, SECOND_MS } from "../platform/clock.ts";
import { StartupError } from "../platform/startup-error.ts";
import { composeDirectoryLogin } from "./directories.ts";
import { defaultProjectOf, type Foundation, type RoleContext } from "./foundation.ts";

/** The warning that is logged when a lock begins. */
const LOCK_WARNINGS: Readonly<Record<LoginLock["kind"], string>> = {
  pair: "too many wrong passwords for an account from one address: it is locked there for a while",
  address: "too many wrong passwords from one address: it is locked for a while but for accounts that logged in from there",
  account: "an account is guessed at: it is locked for a while where others failed before",
  fresh: "an account is guessed at from many addresses: it is locked for a while but where its owner logged in before",
};

/** The services of access. */
export interface Access {
  readonly accounts: Accounts;
  readonly authenticator: Authenticator;
  readonly authorizer: Authorizer;
  /** For what no caller asked for. */
  readonly systemAuthorizer: SystemAuthorizer;
  /** What lets a push make its project. */
  readonly firstPush: FirstPushParts;
  readonly tokens: Tokens;
  readonly passwords: PasswordHasher;
  readonly loginFailures: LoginFailures;
  readonly issuerKeys: IssuerKeys;
  readonly tokenExchange: TokenExchange;
  readonly credentialUse: CredentialUse;
  readonly refreshTokens: RefreshTokens;
  /** Who a provider of sign-ins vouches for. */
  readonly outside: OutsideSignIn;
  readonly sessions: Sessions;
  /** Signing in by OpenID providers. */
  readonly oidc: OidcSignIn;
  readonly devices: DeviceLogins;
}

/** Called at the very first start if the configuration gave the administrator no password: with the generated one. */
export type KeepAdminPassword = (password: string) => Promise<void>;

/** The parts beside the foundation. */
interface AccessParts {
  /** The traits that projects may have beyond their members. */
  readonly traits: readonly ProjectTrait[];
  readonly changes: ChangeSink<AccountChange>;
  readonly projectCreation: () => ProjectCreation;
  /** How issuers' keys are fetched. */
  readonly fetchJson: FetchJson;
  /** How a provider of sign-ins is asked. */
  readonly providerFetch: (issuer: string) => ProviderFetch;
  readonly keepAdminPassword?: KeepAdminPassword | undefined;
}

/** Composes the services. Errors: `StartupError` if the secret key is not this database's; REQUEST_INVALID for an invalid configured password. */
export async function openAccess(
  roleContext: RoleContext,
  { database, metrics, clock, directories }: Pick<Foundation, "database" | "metrics" | "clock" | "directories">,
  { traits, changes, projectCreation, fetchJson, providerFetch, keepAdminPassword }: AccessParts,
): Promise<Access> {
  const { config, masterKey, tracing, logger } = roleContext;
  const defaultProject = defaultProjectOf(config);
  const accounts = createAccounts({
    database,
    clock,
    traits,
    onChangedElsewhere: ({ name }) =>
      logger.info({ account: name }, "an account's password or state was changed by another process, and its tokens have ended"),
  });
  const plainAuthorizer = createAuthorizer({ accounts, database, clock });
  const authorizer = tracing === undefined ? plainAuthorizer : traceAuthorizer(plainAuthorizer, tracing);
  const signingKeys = createSigningKeys({ database, clock, masterKey, signsForMs: config.auth.signingKeyRotationDays * 24 * HOUR_MS });
  // A wrong master key is detected here, and not at the first login.
  await signingKeys.prepare().catch((cause: unknown) => {
    if (cause instanceof RegistryError) throw cause;
    throw new StartupError(
      "The secret key does not open the secrets in the database: start with the key that this database was made with (auth.secretKey, or `secret-key` in the data directory).",
      { cause },
    );
  });
  const firstPush = { authorizer, accounts, isOn: config.projects.createOnPush, projectCreation };
  const tokens = createTokens({
    signingKeys,
    authorizer: withFirstPushTokens(firstPush),
    clock,
    issuer: config.auth.service,
    service: config.auth.service,
    lifetimeSeconds: config.auth.tokenLifetimeSeconds,
    defaultProject,
  });
  const passwords = createPasswordHasher();
  const { lockout } = config.auth;
  const rules = {
    freeFailures: lockout.freeFailures,
    windowMs: lockout.windowSeconds * SECOND_MS,
    firstLockMs: lockout.firstLockSeconds * SECOND_MS,
    maxLockMs: lockout.maxLockSeconds * SECOND_MS,
  };
  const places = createLoginPlaces({
    database,
    clock,
    masterKey,
    onError: (error) => {
      if (!isReported(error))
        logger.warn({ err: error }, "a login's place could not be kept: the account may be locked there by others' failures");
    },
  });
  const locks = countLoginLocks(metrics);
  const loginFailures = countLoginFailures(
    createLoginFailures({
      database,
      clock,
      places,
      masterKey,
      rules,
      onLock({ kind, name, address, lockMs }) {
        locks.count(kind);
        const subject = kind === "address" ? { address } : kind === "pair" ? { account: name, address } : { account: name };
        logger.warn({ ...subject, lockedForMs: lockMs }, LOCK_WARNINGS[kind]);
      },
    }),
    metrics,
  );
  const { idleDays, maxDays } = config.auth.refreshTokens;
  const { idleSeconds, maxSeconds } = config.auth.sessions;
  const idleLifetimes = { refresh: idleDays * DAY_MS, session: idleSeconds * SECOND_MS };
  const credentialUse = createCredentialUse(database, clock, idleLifetimes, (error) => {
    if (!isReported(error)) logger.warn({ err: error }, "when tokens were used could not be written yet");
  });
  const exchanges = countExchanges(metrics);
  const issuerKeys = createIssuerKeys({
    database,
    clock,
    fetchJson,
    onFetch({ name, url }, failure) {
      exchanges.countFetch(failure === undefined);
      if (failure !== undefined)
        logger.warn({ issuer: name, url, reason: failure }, "an issuer's keys could not be fetched: the last ones count for a day");
    },
  });
  const tokenExchange = createTokenExchange({ database, clock, accounts, keys: issuerKeys, onResult: exchanges.count });
  const refreshTokens = createRefreshTokens({ database, clock, changes, idleMs: idleDays * DAY_MS, maxMs: maxDays * DAY_MS });
  const outside = createOutsideSignIn({ database, clock, accounts, changes });
  const directoryLogin = composeDirectoryLogin(roleContext, { directories, accounts, outside, loginFailures, clock, metrics });
  const sessions = createSessions({
    database,
    clock,
    accounts,
    changes,
    seal: createSeal(masterKey, "sessions"),
    idleMs: idleSeconds * SECOND_MS,
    maxMs: maxSeconds * SECOND_MS,
  });
  const plainAuthenticator = createAuthenticator({
    accounts,
    tokens,
    passwords,
    loginFailures,
    credentialUse,
    clock,
    takeIdToken: (token, robot) => tokenExchange.exchange(token, robot, "password"),
    directoryLogin,
  });
  const authenticator = tracing === undefined ? plainAuthenticator : traceAuthenticator(plainAuthenticator, tracing);
  const first = await bootstrap({ database, clock, passwords, administratorPassword: config.auth.adminPassword, defaultProject, changes });
  // At once: if a later part of the start fails, the next start finds the administrator and generates no password.
  if (first.created && first.generatedPassword !== undefined) await keepAdminPassword?.(first.generatedPassword);
  return {
    accounts,
    authenticator,
    authorizer,
    systemAuthorizer: plainAuthorizer,
    firstPush,
    tokens,
    passwords,
    loginFailures,
    credentialUse,
    refreshTokens,
    sessions,
    devices: createDeviceLogins({ database, clock, changes, maxDays: config.auth.personalTokens.maxDays }),
    oidc: createOidcSignIn({
      database,
      clock,
      accounts,
      outside,
      sessions,
      seal: createSeal(masterKey, "sign-in"),
      clients: readOidcProviders(config.auth.oidc).map((provider) => createOidcClient(provider, providerFetch(provider.issuer), clock)),
      onRefusal: (provider, { fault, message }, cause) =>
        logger.warn(
          { provider, fault, reason: message, ...(cause === undefined ? {} : { err: cause }) },
          "somebody was not signed in by a provider",
        ),
    }),
    outside,
    issuerKeys,
    tokenExchange,
  };
}
