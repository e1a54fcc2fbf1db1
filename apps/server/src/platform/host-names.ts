// What host names mean to HTTP clients that follow a redirect. Not here: redirects (http/v2/routes.ts), settings (config.ts).

/**
 * Whether clients carry the Authorization header of a request to `from` along when they are redirected to `to`; both are addresses. Those
 * written in Go do when the host is the same, whatever the port, or lies below it. Source: Go's net/http, shouldCopyHeaderOnRedirect.
 */
export function carriesAuthorization(from: string, to: string): boolean {
  const [own, other] = [URL.parse(from)?.hostname, URL.parse(to)?.hostname];
  // What cannot be read cannot be told to be safe.
  if (own === undefined || other === undefined) return true;
  return other === own || other.endsWith(`.${own}`);
}
