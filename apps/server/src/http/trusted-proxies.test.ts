// Forwarded headers: believed only from named proxies, read from the nearest hop outwards, and never able to inject anything.
import assert from "node:assert/strict";
import type { IncomingHttpHeaders } from "node:http";
import { it } from "node:test";
import fc from "fast-check";
import { createClientAddressReader, originOf } from "./trusted-proxies.ts";

const request = (remoteAddress: string, headers: IncomingHttpHeaders, encrypted = false) => ({
  headers,
  socket: { remoteAddress, encrypted },
});
const forwarded = (chain: string) => ({
  host: "inner:5000",
  "x-forwarded-for": chain,
  "x-forwarded-proto": "https",
  "x-forwarded-host": "r.example.com",
});

it("trusted proxies: ignores forwarded headers from anybody else", () => {
  for (const trusted of [[], ["10.0.0.0/8"]]) {
    const read = createClientAddressReader(trusted);
    assert.deepEqual(read(request("192.0.2.1", forwarded("1.1.1.1"))), { remoteAddress: "192.0.2.1", scheme: "http", host: "inner:5000" });
  }
  const read = createClientAddressReader([]);
  assert.equal(read(request("::ffff:192.0.2.1", {}, true)).remoteAddress, "192.0.2.1");
  assert.equal(read(request("192.0.2.1", {}, true)).scheme, "https");
});

it("trusted proxies: walks through trusted hops and stops at the first other one", () => {
  const read = createClientAddressReader(["10.0.0.0/8", "fd00::/8", "::1"]);
  const client = (peer: string, chain: string) => read(request(peer, forwarded(chain))).remoteAddress;
  assert.equal(client("10.0.0.1", "203.0.113.7"), "203.0.113.7");
  assert.equal(client("::ffff:10.0.0.1", "203.0.113.7, 10.2.2.2"), "203.0.113.7");
  assert.equal(client("10.0.0.1", "6.6.6.6, 203.0.113.7, 10.2.2.2"), "203.0.113.7");
  assert.equal(client("::1", "6.6.6.6, [2001:db8::1]:443, fd00::5"), "2001:db8::1");
  assert.equal(client("10.0.0.1", "203.0.113.7:1234"), "203.0.113.7");
  assert.equal(client("10.0.0.1", "6.6.6.6, nonsense, 10.2.2.2"), "10.2.2.2");
  assert.equal(client("10.0.0.1", ""), "10.0.0.1");
  assert.equal(client("10.0.0.1", "10.0.0.9"), "10.0.0.9");
  assert.equal(client("10.0.0.1", `6.6.6.6${", 10.0.0.2".repeat(100)}`), "10.0.0.2");
});

it("trusted proxies: takes scheme and host from the nearest proxy, and drops malformed hosts", () => {
  const read = createClientAddressReader(["10.0.0.1"]);
  assert.deepEqual(read(request("10.0.0.1", forwarded("203.0.113.7"))), {
    remoteAddress: "203.0.113.7",
    scheme: "https",
    host: "r.example.com",
  });
  const mixed = read(
    request("10.0.0.1", { host: "h", "x-forwarded-proto": "http, HTTPS", "x-forwarded-host": "evil.example, good.example" }),
  );
  assert.deepEqual([mixed.scheme, mixed.host], ["https", "good.example"]);
  for (const host of ["a b", "a/b", "a\r\nx: y", "u@h", "h:123456", "", "x".repeat(300)]) {
    assert.equal(read(request("10.0.0.1", { host: "inner", "x-forwarded-host": host })).host, "inner");
    assert.equal(read(request("192.0.2.1", { host })).host, undefined);
  }
  assert.equal(read(request("192.0.2.1", { host: "[::1]:5000" })).host, "[::1]:5000");
});

it("trusted proxies: makes the origin from the configuration, else from the request", () => {
  assert.equal(originOf({ remoteAddress: "", scheme: "https", host: "h:1" }, undefined), "https://h:1");
  assert.equal(originOf({ remoteAddress: "", scheme: "http", host: "h" }, "https://r.example.com"), "https://r.example.com");
  assert.equal(originOf({ remoteAddress: "", scheme: "http", host: undefined }, undefined), undefined);
});

it("trusted proxies: gives an address, a scheme and a clean host for any headers", () => {
  const read = createClientAddressReader(["0.0.0.0/0", "::/0"]);
  const header = fc.oneof(
    fc.string(),
    fc.ipV4(),
    fc.ipV6(),
    fc.array(fc.oneof(fc.ipV4(), fc.ipV6(), fc.string())).map((all) => all.join(",")),
  );
  fc.assert(
    fc.property(fc.oneof(fc.ipV4(), fc.ipV6()), header, header, header, (peer, chain, proto, host) => {
      const seen = read(request(peer, { host, "x-forwarded-for": chain, "x-forwarded-proto": proto, "x-forwarded-host": host }));
      assert.match(seen.remoteAddress, /^[0-9a-f:.]+$/i);
      assert.match(seen.scheme, /^https?$/);
      assert.match(seen.host ?? "", /^[\w.:[\]-]*$/);
    }),
  );
});
