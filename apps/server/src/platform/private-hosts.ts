// Which host names lead into private networks. Not here: the warning about it (compose/data-plane.ts).
import { lookup } from "node:dns/promises";
import { BlockList, isIP, isIPv6 } from "node:net";

/** Networks that the Internet does not route. Source: RFC 1918, 6598, 3927, 1122, 4193, 4291. */
const PRIVATE = [
  ["10.0.0.0", 8],
  ["172.16.0.0", 12],
  ["192.168.0.0", 16],
  ["100.64.0.0", 10],
  ["169.254.0.0", 16],
  ["127.0.0.0", 8],
  ["0.0.0.0", 8],
  ["::1", 128],
  ["::", 128],
  ["fc00::", 7],
  ["fe80::", 10],
] as const;

/** Names that no public name server knows. Source: RFC 6761, 6762, 9476, and ICANN for `internal`. */
const PRIVATE_NAME = /^localhost$|\.(?:localhost|local|internal|home\.arpa|svc|lan)\.?$/i;

const list = new BlockList();
for (const [network, prefix] of PRIVATE) list.addSubnet(network, prefix, isIPv6(network) ? "ipv6" : "ipv4");

/** Whether an address lies in a private network. */
export function isPrivateAddress(address: string): boolean {
  return isIP(address) !== 0 && list.check(address, isIPv6(address) ? "ipv6" : "ipv4");
}

/** Whether the host of an address, with `[::1]` in brackets, is in a private network; a name is if all its addresses are. */
export async function isPrivateHost(host: string, find = lookup): Promise<boolean> {
  const plain = host.replace(/^\[(.*)\]$/, "$1");
  if (isIP(plain) !== 0) return isPrivateAddress(plain);
  if (PRIVATE_NAME.test(plain)) return true;
  try {
    const found = await find(plain, { all: true });
    return found.length > 0 && found.every(({ address }) => isPrivateAddress(address));
  } catch {
    // The name is unknown here, so nothing speaks against it.
    return false;
  }
}
