// What host names mean to HTTP clients that follow a redirect. Not here: redirects (http/v2/routes.ts), settings (config.ts).

/**
 * Whether clients forward the Authorization header of a request to `from` when they are redirected to `to`; both are addresses. Clients
 * written in Go do if the host is the same, whatever the port, or is a subdomain of it. Source: Go's net/http, shouldCopyHeaderOnRedirect.
 */
export function carriesAuthorization(from: string, to: string): boolean {
  const [own, other] = [URL.parse(from)?.hostname, URL.parse(to)?.hostname];
  // An address that cannot be parsed cannot be called safe.
  if (own === undefined || other === undefined) return true;
  return other === own || other.endsWith(`.${own}`);
}
