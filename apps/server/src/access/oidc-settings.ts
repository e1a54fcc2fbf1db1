// Settings of OpenID providers by which people sign in. Not here: how settings are read (config-load.ts), what is read of them (oidc-providers.ts).
import { flag, httpUrl, mapOf, optional, required, secret, text } from "../config-kinds.ts";

/** As access/jwks.ts has them. */
const ALGORITHMS: readonly string[] = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"];

export const oidcSettings = mapOf(
  {
    issuer: required(httpUrl({ about: "The provider's address, as its tokens have it in `iss`. What else it has is found there." })),
    clientId: required(text({ about: "What the registry is called there." })),
    clientSecret: secret({ about: "What the registry proves itself with there. Empty: a client without a secret." }),
    title: optional(text({ about: "What people see on the button. Empty: the provider's name here." })),
    scopes: text({ standard: "openid profile email", about: "What is asked for; the provider says which one brings groups." }),
    nameClaim: text({ standard: "preferred_username", about: "The claim that an account's name is made of at the first sign-in." }),
    groupsClaim: text({
      standard: "groups",
      about: "The claim that names a person's groups, or a path to it with dots. Without it nobody is in a group of the provider.",
    }),
    requiredClaims: optional(
      text({ about: "Claims that a token must have, as `name=value`, separated by commas. Of a list, the value must be in it." }),
    ),
    requiredGroups: optional(
      text({ about: "Only who is in one of these groups of the provider signs in, separated by commas. Empty: everybody." }),
    ),
    administratorGroup: optional(
      text({
        about:
          "Who is in this group of the provider is an administrator here, and nobody else whom it signs in; the same for the next two. Without any of the three, roles are given here.",
      }),
    ),
    auditorGroup: optional(text({ about: "The same for auditors." })),
    creatorGroup: optional(text({ about: "The same for those who may create projects." })),
    createsAccounts: flag({ standard: "true", about: "Whether somebody who was never here gets an account." }),
    makesGroups: flag({
      standard: "false",
      about: "Whether groups that are not here yet are made. Else only those count that are in `berth group list`.",
    }),
    algorithms: text({
      standard: "RS256 PS256 ES256 EdDSA",
      about: `Signatures that count, of ${ALGORITHMS.join(", ")}.`,
    }),
    formerIssuer: optional(httpUrl({ about: "The provider's address before it moved: accounts stay those of the same people." })),
  },
  { about: "OpenID providers by which people sign in, under names that stay: accounts belong to them." },
);

/** The values of one provider. */
export interface OidcSetting {
  readonly issuer: string;
  readonly clientId: string;
  readonly clientSecret: string | undefined;
  readonly title: string | undefined;
  readonly scopes: string;
  readonly nameClaim: string;
  readonly groupsClaim: string;
  readonly requiredClaims: string | undefined;
  readonly requiredGroups: string | undefined;
  readonly administratorGroup: string | undefined;
  readonly auditorGroup: string | undefined;
  readonly creatorGroup: string | undefined;
  readonly createsAccounts: boolean;
  readonly makesGroups: boolean;
  readonly algorithms: string;
  readonly formerIssuer: string | undefined;
}

/** What is wrong with providers whose settings are each valid: pairs of a setting's path and the problem. */
export function findOidcProblems(settings: Readonly<Record<string, OidcSetting>>): [string, string][] {
  const found: [string, string][] = [];
  for (const [name, given] of Object.entries(settings)) {
    const at = `auth.oidc.${name}`;
    const unknown = given.algorithms.split(/[\s,]+/).filter((each) => !ALGORITHMS.includes(each));
    if (unknown.length > 0) found.push([`${at}.algorithms`, `names what does not count: ${unknown.join(", ")}`]);
    if (!given.scopes.split(/\s+/).includes("openid"))
      found.push([`${at}.scopes`, "lacks openid: without it the provider signs nobody in"]);
    if (listOf(given.requiredClaims).some((each) => !/^[^=]+=./.test(each)))
      found.push([`${at}.requiredClaims`, "must be name=value, name=value"]);
    if (given.requiredGroups !== undefined && listOf(given.requiredGroups).length === 0)
      found.push([`${at}.requiredGroups`, "names no group"]);
    if (name === "password" || name.length > 40) found.push([at, "must have another name, of 40 letters at the most"]);
  }
  return found;
}

/** The parts of a text with commas. */
export function listOf(text_: string | undefined): string[] {
  return (text_ ?? "").split(",").flatMap((each) => (each.trim() === "" ? [] : [each.trim()]));
}
