// Networks: every way to write them, and which addresses lie in them.
import assert from "node:assert/strict";
import { it } from "node:test";
import { createNetworkRules, readNetwork } from "./networks.ts";

const permits = (allow: string[], deny: string[], address: string): boolean | undefined =>
  createNetworkRules({ allow, deny })?.permits(address);

it("networks: every notation becomes one form", () => {
  const same: readonly (readonly [string, string])[] = [
    ["10.0.0.0/8", "10.0.0.0/8"],
    ["192.0.2.7", "192.0.2.7"],
    ["192.0.2.7/32", "192.0.2.7"],
    ["0.0.0.0/0", "0.0.0.0/0"],
    ["::/0", "::/0"],
    ["2001:DB8:0:0::/32", "2001:db8::/32"],
    ["2001:0db8:0000::1", "2001:db8::1"],
    ["2001:db8::1/128", "2001:db8::1"],
    ["::ffff:10.0.0.0/104", "10.0.0.0/8"],
    ["::ffff:a00:1", "10.0.0.1"],
    ["0:0:0:0:0:ffff:192.0.2.7", "192.0.2.7"],
    ["::ffff:0:0/96", "0.0.0.0/0"],
    ["fe80::/10", "fe80::/10"],
    ["fc00::/7", "fc00::/7"],
    ["10.128.0.0/9", "10.128.0.0/9"],
    ["172.16.0.0/12", "172.16.0.0/12"],
  ];
  for (const [written, form] of same) assert.deepEqual(readNetwork(written), { network: form }, written);
});

it("networks: what is none, or could mean two, is refused with what to write", () => {
  const wrong = [
    "",
    "10",
    "10.0.0",
    "10.0.0.0/",
    "10.0.0.0/33",
    "10.0.0.0/08",
    "10.0.0.0/-1",
    "010.0.0.1",
    "0x0a.0.0.1",
    "10.0.0.256",
    "2130706433",
    "::/129",
    ":::",
    "fe80::1%eth0",
    "localhost",
    "*",
    "10.*",
    "10.0.0.0-10.0.0.9",
    " 10.0.0.1",
    "10.0.0.1 ",
    "10.0.0.0/8/8",
    "[::1]",
    "::ffff:10.0.0.1/24",
    "10.0.0.1/8\n",
  ];
  for (const text of wrong) assert.ok(readNetwork(text).problem !== undefined, text);
  assert.match(readNetwork("10.1.2.3/8").problem ?? "", /10\.0\.0\.0\/8 for the network, or 10\.1\.2\.3 for the address/);
  assert.match(readNetwork("2001:db8::1/64").problem ?? "", /2001:db8::\/64 for the network/);
  assert.match(readNetwork("::ffff:10.1.2.3/104").problem ?? "", /10\.0\.0\.0\/8 for the network/);
});

it("networks: an address is in them however it and they are written", () => {
  for (const address of ["10.1.2.3", "::ffff:10.1.2.3", "::ffff:a01:203", "0:0:0:0:0:FFFF:10.1.2.3"]) {
    for (const network of ["10.0.0.0/8", "::ffff:10.0.0.0/104", "10.1.2.3", "::ffff:a01:203"]) {
      assert.equal(permits([network], [], address), true, `${address} in ${network}`);
      assert.equal(permits([], [network], address), false, `${address} in ${network}`);
    }
    assert.equal(permits(["11.0.0.0/8"], [], address), false);
    assert.equal(permits(["::/0"], [], address), false, "all of IPv6 is nothing of IPv4");
    assert.equal(permits(["0.0.0.0/0"], ["10.1.0.0/16"], address), false, "what is denied counts first");
  }
  assert.equal(permits(["fe80::/10"], [], "fe80::1%eth0"), true, "a zone is this machine's");
  assert.equal(permits(["2001:db8::/32"], [], "2001:0db8:0:0::9"), true);
  assert.equal(permits(["0.0.0.0/0"], [], "2001:db8::9"), false);
});

it("networks: nothing may be used from what is no address, and everything where nothing is said", () => {
  for (const address of ["", "unix:", "localhost", "10.0.0", "%"]) {
    assert.equal(permits([], ["10.0.0.0/8"], address), false);
    assert.equal(permits(["0.0.0.0/0", "::/0"], [], address), false);
  }
  assert.equal(createNetworkRules({ allow: [], deny: [] }), undefined);
});
