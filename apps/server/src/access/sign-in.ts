// How a caller signed in: the credential that a request brought, as records name it. No secret is in it.
// Not here: recognising it (authenticate.ts), who acts (actor.ts).

/** A credential that proves by itself who its owner is. */
export type DirectSignIn =
  /** Without any: anonymous, and the system. */
  | { readonly kind: "none" }
  | { readonly kind: "password" }
  | { readonly kind: "robot-secret" }
  /** A personal access token: its id, and the name that its owner gave it. */
  | { readonly kind: "personal-token"; readonly id: number; readonly name: string }
  /** A refresh token of docker's token flow. */
  | { readonly kind: "refresh-token"; readonly id: number; readonly name: string }
  /** A session of the console. */
  | { readonly kind: "session"; readonly id: number }
  /** An identity that another issuer vouches for. */
  | { readonly kind: "oidc"; readonly issuer: string }
  /** A directory that has proved the password: its name here. */
  | { readonly kind: "ldap"; readonly provider: string };

/** How a caller signed in. A registry token was given for something else, which it remembers. */
export type SignIn = DirectSignIn | { readonly kind: "registry-token"; readonly by: DirectSignIn };

/** One object each, so that a pull makes none. */
export const NO_SIGN_IN: DirectSignIn = Object.freeze({ kind: "none" });
export const BY_PASSWORD: DirectSignIn = Object.freeze({ kind: "password" });
export const BY_ROBOT_SECRET: DirectSignIn = Object.freeze({ kind: "robot-secret" });

/** What a registry token for this caller remembers. */
export function directSignIn(via: SignIn): DirectSignIn {
  return via.kind === "registry-token" ? via.by : via;
}

/** Reads what a registry token remembers. One of an earlier version remembers nothing, and what is not understood is nothing. */
export function parseDirectSignIn(value: unknown): DirectSignIn {
  if (typeof value !== "object" || value === null) return NO_SIGN_IN;
  const { kind, id, name, issuer, provider } = value as Readonly<Record<string, unknown>>;
  switch (kind) {
    case "password":
      return BY_PASSWORD;
    case "robot-secret":
      return BY_ROBOT_SECRET;
    case "personal-token":
    case "refresh-token":
      return Number.isSafeInteger(id) && typeof name === "string" ? { kind, id: id as number, name } : NO_SIGN_IN;
    case "session":
      return Number.isSafeInteger(id) ? { kind, id: id as number } : NO_SIGN_IN;
    case "oidc":
      return typeof issuer === "string" ? { kind, issuer } : NO_SIGN_IN;
    case "ldap":
      return typeof provider === "string" ? { kind, provider } : NO_SIGN_IN;
    default:
      return NO_SIGN_IN;
  }
}
