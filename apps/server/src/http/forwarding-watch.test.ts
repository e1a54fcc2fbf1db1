// A proxy that is not trusted, or that hides the registry's name, is reported: once in the log, and to each client that it misleads.
import assert from "node:assert/strict";
import type { IncomingHttpHeaders } from "node:http";
import { it } from "node:test";
import { pino } from "pino";
import { createForwardingWatch } from "./forwarding-watch.ts";
import { createClientAddressReader, createTrust } from "./trusted-proxies.ts";

interface Line {
  readonly msg: string;
  readonly proxy: string;
  readonly realmOrigin?: string;
}

function watch(trusted: readonly string[], hasAddress = false) {
  const lines: Line[] = [];
  const logger = pino({ level: "info" }, { write: (text: string) => void lines.push(JSON.parse(text) as Line) });
  const problem = createForwardingWatch({
    addressOf: createClientAddressReader(trusted),
    isTrusted: createTrust(trusted),
    hasAddress,
    logger,
  });
  const ask = (remoteAddress: string, headers: IncomingHttpHeaders, encrypted = false) =>
    problem({ headers: { host: "registry.example", ...headers }, socket: { remoteAddress, encrypted } });
  return { lines, ask };
}

const BY_TLS = { "x-forwarded-proto": "https", "x-forwarded-for": "192.0.2.7" };

it("forwarding watch: reports a proxy that ends TLS and is not trusted, once in the log and to every client", () => {
  const { lines, ask } = watch([]);
  for (let i = 0; i < 3; i++) {
    assert.match(
      ask("::ffff:10.0.0.5", BY_TLS) ?? "",
      /x-forwarded-proto.* sends clients to http:\/\/registry\.example .*http\.trustedProxies or http\.publicUrl/,
    );
  }
  assert.equal(lines.length, 1);
  assert.deepEqual([lines[0]!.proxy, lines[0]!.realmOrigin], ["10.0.0.5", "http://registry.example"]);
  assert.match(lines[0]!.msg, /not believed.*http\.trustedProxies/);
  assert.notEqual(ask("10.0.0.6", BY_TLS), undefined);
  assert.equal(lines.length, 2);
});

it("forwarding watch: knows it by any sign: the scheme, another name, Forwarded, or a loopback name for somebody from elsewhere", () => {
  for (const [headers, isReported] of [
    [{ "x-forwarded-proto": "HTTPS" }, true],
    [{ "x-forwarded-proto": "http, https" }, true],
    [{ "x-forwarded-proto": "http" }, false],
    [{ "x-forwarded-host": "other.example" }, true],
    [{ "x-forwarded-host": "Registry.Example", "x-forwarded-proto": "http" }, false],
    [{ forwarded: 'for=192.0.2.7;proto="https";host=registry.example' }, true],
    [{ forwarded: "for=192.0.2.7;proto=http" }, false],
    [{ host: "127.0.0.1:5000", "x-forwarded-for": "192.0.2.7" }, true],
    [{ host: "[::1]:5000", "x-real-ip": "192.0.2.7" }, true],
    [{ host: "127.0.0.1:5000", "x-forwarded-for": "127.0.0.1" }, false],
    [{ "x-forwarded-for": "192.0.2.7" }, false],
  ] as [IncomingHttpHeaders, boolean][]) {
    const { lines, ask } = watch([]);
    assert.equal(ask("10.0.0.5", headers) !== undefined, isReported, JSON.stringify(headers));
    // It is logged also where the only harm is that all clients share one address.
    assert.equal(lines.length, 1);
    assert.equal(lines[0]!.realmOrigin !== undefined, isReported);
  }
});

it("forwarding watch: says nothing where all is well: no proxy, a trusted one, a configured address, or TLS of our own", () => {
  for (const [trusted, hasAddress, headers] of [
    [[], false, {}],
    [[], false, { host: "127.0.0.1:5000" }],
    [["10.0.0.0/8"], false, BY_TLS],
    [["10.0.0.0/8"], false, { ...BY_TLS, host: "127.0.0.1:5000", "x-forwarded-host": "registry.example" }],
    [["10.0.0.0/8"], true, { "x-forwarded-for": "192.0.2.7" }],
  ] as [string[], boolean, IncomingHttpHeaders][]) {
    const { lines, ask } = watch(trusted, hasAddress);
    assert.equal(ask("10.0.0.5", headers), undefined);
    assert.deepEqual(lines, []);
  }
  // The public address is configured, so the only remaining problem is that all clients share one address.
  const known = watch([], true);
  assert.equal(known.ask("10.0.0.5", BY_TLS), undefined);
  assert.match(known.lines[0]!.msg, /all its clients count as one/);
  assert.equal(watch([]).ask("10.0.0.5", { "x-forwarded-proto": "https" }, true), undefined);
});

it("forwarding watch: reports a trusted proxy that hides the registry's name, or does not say the scheme", () => {
  const hidden = watch(["127.0.0.1"]);
  assert.match(hidden.ask("127.0.0.1", { ...BY_TLS, host: "127.0.0.1:5000" }) ?? "", /hides its name.*https:\/\/127\.0\.0\.1:5000/);
  assert.match(hidden.lines[0]!.msg, /keep Host/);
  const silent = watch(["127.0.0.1"]);
  // The clients may really use http.
  assert.equal(silent.ask("127.0.0.1", { "x-forwarded-for": "192.0.2.7" }), undefined);
  assert.match(silent.lines[0]!.msg, /X-Forwarded-Proto/);
});

it("forwarding watch: does not let anybody fill the log", () => {
  const { lines, ask } = watch([]);
  for (let i = 1; i < 200; i++) ask(`192.0.2.${i}`, BY_TLS);
  assert.equal(lines.length, 8);
});
