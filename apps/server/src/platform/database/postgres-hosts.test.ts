// Addresses of PostgreSQL with one host and with several. Not here: which host is used (test/failure/network-database.test.ts).
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { parsePostgresAddress } from "./postgres-hosts.ts";

function hostsOf(address: string): readonly (readonly [string, string])[] {
  const parsed = parsePostgresAddress(address);
  assert.ok(parsed.ok, parsed.ok ? "" : parsed.problem);
  return parsed.hosts.map(({ shown, url }) => [shown, url]);
}

describe("a database's address", () => {
  it("stays as it is with one host", () => {
    assert.deepEqual(hostsOf("postgres://u:p%40ss@db.example:5433/name?sslmode=verify-full"), [
      ["db.example:5433", "postgres://u:p%40ss@db.example:5433/name?sslmode=verify-full"],
    ]);
    assert.deepEqual(hostsOf("postgresql://db/name"), [["db", "postgresql://db/name"]]);
    assert.deepEqual(hostsOf("postgres:///name?host=/run/postgresql"), [["", "postgres:///name?host=%2Frun%2Fpostgresql"]]);
  });

  it("becomes one address a host with several", () => {
    assert.deepEqual(hostsOf("postgres://u:p@one:5432,two,[fd00::3]:5434/name?target_session_attrs=read-write&sslmode=require"), [
      ["one:5432", "postgres://u:p@one:5432/name?sslmode=require"],
      ["two", "postgres://u:p@two/name?sslmode=require"],
      ["[fd00::3]:5434", "postgres://u:p@[fd00::3]:5434/name?sslmode=require"],
    ]);
  });

  for (const [address, problem] of [
    ["mysql://one/name", /must be an address/],
    ["postgres://one,,two/name", /host without a name/],
    ["postgres://one:x,two/name", /host or port/],
    ["postgres://one:99999,two/name", /host or port/],
    [`postgres://${Array.from({ length: 17 }, (_, i) => `h${i}`).join(",")}/name`, /more than 16/],
    ["postgres://one,two/name?target_session_attrs=standby", /other than the primary/],
    ["postgres://one,two/name?target_session_attrs=prefer-standby", /other than the primary/],
  ] as const) {
    it(`is refused: ${address}`, () => {
      const parsed = parsePostgresAddress(address);
      assert.match(parsed.ok ? "" : parsed.problem, problem);
    });
  }
});
