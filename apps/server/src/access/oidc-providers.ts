// OpenID providers as the settings have them: read into what the protocol needs. Pure. Not here: the settings (oidc-settings.ts), the
// protocol (oidc-client.ts).
import { listOf, type OidcSetting } from "./oidc-settings.ts";
import type { OutsidePolicy } from "./outside-identities.ts";

/** One provider, as the protocol needs it. */
export interface OidcProvider {
  readonly name: string;
  readonly issuer: string;
  readonly clientId: string;
  readonly clientSecret: string | undefined;
  readonly title: string;
  readonly scopes: string;
  readonly nameClaim: string;
  readonly groupsClaim: string;
  readonly requiredClaims: readonly (readonly [string, string])[];
  readonly algorithms: readonly string[];
  readonly policy: OutsidePolicy;
}

/** The providers of a configuration. */
export function readOidcProviders(settings: Readonly<Record<string, OidcSetting>>): OidcProvider[] {
  return Object.entries(settings).map(([name, given]) => {
    const roles = { administrator: given.administratorGroup, auditor: given.auditorGroup, creator: given.creatorGroup };
    const hasRoles = Object.values(roles).some((group) => group !== undefined);
    return {
      name,
      // As the tokens of most have it: an address alone has no slash at its end.
      issuer: withoutSlash(given.issuer),
      clientId: given.clientId,
      clientSecret: given.clientSecret,
      title: given.title ?? name,
      scopes: given.scopes,
      nameClaim: given.nameClaim,
      groupsClaim: given.groupsClaim,
      requiredClaims: listOf(given.requiredClaims).map((each) => {
        const at = each.indexOf("=");
        return [each.slice(0, at).trim(), each.slice(at + 1).trim()] as const;
      }),
      algorithms: given.algorithms.split(/[\s,]+/),
      policy: {
        createsAccounts: given.createsAccounts,
        makesGroups: given.makesGroups,
        requiredGroups: given.requiredGroups === undefined ? undefined : listOf(given.requiredGroups),
        roles: hasRoles ? roles : undefined,
        formerRealms: given.formerIssuer === undefined ? undefined : [withoutSlash(given.formerIssuer)],
      },
    };
  });
}

/** Settings of addresses get a slash where they have no path. One that the provider has behind a path is kept. */
function withoutSlash(address: string): string {
  const url = new URL(address);
  return url.pathname === "/" && url.search === "" ? url.origin : url.href;
}
