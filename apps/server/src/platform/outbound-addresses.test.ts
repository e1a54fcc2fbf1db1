// Which addresses are public, in every notation, and what an allow list opens.
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { classifyAddress, createAllowList, parseAllowed } from "./outbound-addresses.ts";
import { hostOf } from "./outbound-resolve.ts";

const PUBLIC = [
  "1.1.1.1",
  "8.8.8.8",
  "172.15.255.255",
  "172.32.0.0",
  "100.63.255.255",
  "100.128.0.0",
  "223.255.255.255",
  "2606:4700::1111",
  "2a00:1450::1",
];
const PRIVATE = [
  "10.0.0.1",
  "172.16.0.1",
  "172.31.255.255",
  "192.168.1.1",
  "100.64.0.1",
  "127.0.0.1",
  "127.255.255.254",
  "::1",
  "fd12:3456::1",
  "fc00::1",
];
const SPECIAL = [
  "0.0.0.0",
  "0.1.2.3",
  "169.254.169.254",
  "169.254.0.1",
  "192.0.0.192",
  "192.0.2.1",
  "198.18.0.1",
  "198.19.255.255",
  "198.51.100.1",
  "203.0.113.1",
  "224.0.0.1",
  "239.255.255.255",
  "240.0.0.1",
  "255.255.255.255",
  "100.100.100.200",
  "168.63.129.16",
  "192.88.99.1",
  "::",
  "fe80::1",
  "fe80::1%eth0",
  "febf::1",
  "fec0::1",
  "ff02::1",
  "2001:db8::1",
  "2001::1",
  "2001:10::1",
  "3fff::1",
  "100::1",
  "5f00::1",
  "fd00:ec2::254",
  "fd20:ce::254",
  "64:ff9b:1::a00:1",
  "4000::1",
  "not an address",
  "",
  "127.1",
  "0x7f000001",
  "1.1.1.1%eth0",
];

describe("an address", () => {
  it("is public, private or special by IANA's registries", () => {
    for (const address of PUBLIC) assert.equal(classifyAddress(address), "public", address);
    for (const address of PRIVATE) assert.equal(classifyAddress(address), "private", address);
    for (const address of SPECIAL) assert.equal(classifyAddress(address), "special", address);
  });

  it("in IPv6 is what the IPv4 address is that it carries", () => {
    const forms: ((ipv4: string, hex: string) => string)[] = [
      (ipv4) => `::ffff:${ipv4}`,
      (_, hex) => `::ffff:${hex}`,
      (ipv4) => `0:0:0:0:0:ffff:${ipv4}`,
      (ipv4) => `::ffff:0:${ipv4}`,
      (ipv4) => `::${ipv4}`,
      (ipv4) => `64:ff9b::${ipv4}`,
      (_, hex) => `0064:FF9B:0000:0000:0000:0000:${hex}`,
    ];
    for (const form of forms) {
      assert.equal(classifyAddress(form("10.1.2.3", "a01:203")), "private", form("10.1.2.3", "a01:203"));
      assert.equal(classifyAddress(form("127.0.0.1", "7f00:1")), "private", form("127.0.0.1", "7f00:1"));
      assert.equal(classifyAddress(form("169.254.169.254", "a9fe:a9fe")), "special", form("169.254.169.254", "a9fe:a9fe"));
      assert.equal(classifyAddress(form("8.8.8.8", "808:808")), "public", form("8.8.8.8", "808:808"));
    }
  });

  it("of a tunnel is special where its other end is not public", () => {
    for (const address of [
      "2002:a01:203::1",
      "2002:7f00:1::",
      "2002:a9fe:a9fe::1",
      "2606:4700::5efe:10.0.0.1",
      "2606:4700::200:5efe:127.0.0.1",
    ])
      assert.equal(classifyAddress(address), "special", address);
    assert.equal(classifyAddress("2002:808:808::1"), "public");
    assert.equal(classifyAddress("fd00::5efe:8.8.8.8"), "private");
  });

  it("in decimal, octal, hexadecimal or short form is read as what it means before it is looked at", () => {
    for (const host of [
      "2130706433",
      "0x7f000001",
      "0177.0.0.1",
      "0x7f.1",
      "127.1",
      "127.0.0.1.",
      "①②⑦.0.0.1",
      "[::ffff:7f00:1]",
      "[0:0:0:0:0:0:0:1]",
    ])
      assert.equal(classifyAddress(hostOf(new URL(`https://${host}/`))), "private", host);
  });
});

describe("an allow list", () => {
  const permits = (entries: string[], host: string, address: string) =>
    createAllowList(entries).permits(host, address, classifyAddress(address));

  it("opens the networks that it names, however their addresses are written, and no others", () => {
    assert.ok(permits(["10.1.0.0/16"], "a.test", "10.1.2.3"));
    assert.ok(permits(["10.1.0.0/16"], "a.test", "::ffff:10.1.2.3"));
    assert.ok(permits(["fd12::/16"], "a.test", "fd12::1"));
    assert.ok(!permits(["10.1.0.0/16"], "a.test", "10.2.0.1"));
    assert.ok(!permits(["10.0.0.1"], "a.test", "10.0.0.2"));
    assert.ok(!permits(["10.0.0.0/8"], "a.test", "2002:a01:203::1"));
    assert.ok(permits([], "a.test", "8.8.8.8"));
  });

  it("opens a name's private addresses, and those of the names below", () => {
    assert.ok(permits(["hooks.corp"], "hooks.corp", "10.1.2.3"));
    assert.ok(permits(["*.corp"], "a.b.corp", "10.1.2.3"));
    for (const host of ["corp", "hooks.corp.evil.test", "xcorp"]) assert.ok(!permits(["*.corp", "hooks.corp"], host, "10.1.2.3"), host);
  });

  it("opens what is special by an entry within it only", () => {
    for (const entry of ["0.0.0.0/0", "169.0.0.0/8", "::/0", "meta.test"])
      assert.ok(!permits([entry], "meta.test", "169.254.169.254"), entry);
    assert.ok(!permits(["100.64.0.0/10"], "a", "100.100.100.200"));
    assert.ok(!permits(["fd00::/8"], "a", "fd00:ec2::254"));
    assert.ok(permits(["169.254.169.254"], "meta.test", "169.254.169.254"));
    assert.ok(permits(["198.18.0.0/15"], "bench.test", "198.18.0.1"));
  });

  it("is refused where an entry is neither a network nor a name", () => {
    for (const text of [
      "10.0.0.0/33",
      "::/129",
      "10.0.0",
      "10.0.0.0/8/8",
      "a b",
      "https://a",
      "a:80",
      "*",
      "*.*.a",
      "127.1",
      "0x7f.1",
      "",
    ]) {
      assert.equal(parseAllowed(text), undefined, text);
      assert.throws(() => createAllowList([text]), TypeError);
    }
  });
});
