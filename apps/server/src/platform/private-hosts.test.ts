// Hosts of private networks are recognised by address, by name, and by the addresses of a name.
import assert from "node:assert/strict";
import type { lookup } from "node:dns/promises";
import { it } from "node:test";
import { isPrivateHost } from "./private-hosts.ts";

const finding = (...addresses: string[]) => (async () => addresses.map((address) => ({ address, family: 4 }))) as unknown as typeof lookup;

it("private hosts: knows private addresses and names, and what others stand for", async () => {
  for (const host of [
    "10.1.2.3",
    "172.31.0.1",
    "192.168.7.7",
    "127.0.0.1",
    "100.64.1.1",
    "[::1]",
    "[fd00::1]",
    "[fe80::1]",
    "localhost",
    "s3.svc",
    "minio.local",
  ])
    assert.equal(await isPrivateHost(host, finding("8.8.8.8")), true, host);
  for (const host of ["8.8.8.8", "172.32.0.1", "[2001:db8::1]", "s3.example.com"])
    assert.equal(await isPrivateHost(host, finding("8.8.8.8")), false, host);
  assert.equal(await isPrivateHost("s3.example.com", finding("10.0.0.9", "fd00::9")), true);
  assert.equal(await isPrivateHost("s3.example.com", finding("10.0.0.9", "8.8.8.8")), false);
  const failing = (async () => {
    throw new Error("not found");
  }) as unknown as typeof lookup;
  assert.equal(await isPrivateHost("s3.example.com", failing), false);
});
