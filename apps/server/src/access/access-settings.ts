// Settings of authentication: secrets, tokens, keys and locks. Not here: how settings are read (config-load.ts).
import { oidcSettings } from "./oidc-settings.ts";
import { flag, httpUrl, integer, optional, secret, seconds, text } from "../config-kinds.ts";
import { ldapSettings } from "./ldap/ldap-settings.ts";

export const authSettings = {
  adminPassword: secret({
    alias: "adminPassword",
    // As for every user: MIN_PASSWORD_LENGTH of access/secrets.ts.
    minLength: 10,
    about:
      "The first administrator's password, at the very first start. Empty: made at first start and written to `admin-password` in the data directory.",
  }),
  tokenLifetimeSeconds: seconds({
    standard: "300s",
    min: "60s",
    max: "1h",
    about:
      "How long a bearer token is valid. Clients of the token protocol expect at least 60s. Rights that are withdrawn end at once, not with the token.",
  }),
  signingKeyRotationDays: integer({ standard: "30", min: 1, max: 365, about: "How often a new key for signing tokens is made." }),
  secretKey: secret({
    // As access/master-key.ts reads it.
    pattern: /^(?:[0-9a-fA-F]{64}|[A-Za-z0-9+/_-]{43}=?)$/,
    wanted: "a secret of 32 bytes in hexadecimal or base64",
    about:
      "Encrypts secrets in the database. The same on every replica, so it is required with PostgreSQL. Empty: made at first start and kept in the data directory.",
  }),
  service: text({
    standard: "berth",
    pattern: /^[\w.:-]{1,128}$/,
    wanted: "up to 128 letters, digits, dots, colons, dashes",
    about: "The service's name in tokens and challenges.",
  }),
  realm: optional(httpUrl({ about: "The token service's address in challenges. Empty: /token at the public address." })),
  personalTokens: {
    maxDays: integer({ standard: "365", min: 1, max: 3650, about: "How many days a personal token lasts at the most." }),
  },
  refreshTokens: {
    forDocker: flag({
      standard: "false",
      about:
        "Whether `docker login` gets a refresh token, which it keeps instead of the password. skopeo, podman and buildah then refuse to log in on the same machine: they read docker's file.",
    }),
    idleDays: integer({
      standard: "30",
      min: 1,
      max: 365,
      about: "A refresh token, which clients keep after a login instead of the password, ends when it was not used for so many days.",
    }),
    maxDays: integer({ standard: "365", min: 1, max: 3650, about: "How many days a refresh token lasts at the most." }),
  },
  oidc: oidcSettings,
  sessions: {
    idleSeconds: seconds({
      standard: "12h",
      min: "5m",
      max: "30d",
      about: "A browser's session ends when it was not used for so long.",
    }),
    maxSeconds: seconds({ standard: "7d", min: "5m", max: "365d", about: "How long a browser's session lasts at the most." }),
  },
  lockout: {
    freeFailures: integer({
      standard: "5",
      min: 1,
      max: 10_000,
      about: "Failed sign-ins of one account from one address before it is locked there. An address as a whole has ten times as many.",
    }),
    windowSeconds: seconds({ standard: "1h", min: "1s", max: "24h", about: "How long a failed sign-in counts." }),
    firstLockSeconds: seconds({
      standard: "10s",
      min: "1s",
      max: "1h",
      about: "How long the first lock lasts; each further failure doubles it.",
    }),
    maxLockSeconds: seconds({ standard: "15m", min: "1s", max: "24h", about: "How long a lock lasts at most." }),
  },
  ldap: ldapSettings,
};
