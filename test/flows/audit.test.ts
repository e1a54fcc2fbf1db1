// The audit log over HTTP: what is done through the registry is on record with who did it, is found by every filter, exported, proven; and what was
// changed in the database is named. Not here: who may read it (access-matrix.test.ts), each kind of tampering (audit-verification.test.ts).
import assert from "node:assert/strict";
import { it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import type { AuditRecordView, AuditVerificationView } from "@berth/api/audit";
import { ENGINES } from "./engines.testing.ts";
import { startTestRegistry } from "./registry.testing.ts";

for (const engine of ENGINES) {
  it(`the audit log on ${engine.name}`, { skip: engine.skip }, async (t) => {
    const registry = await startTestRegistry((await engine.make(t)).settings);
    t.after(() => registry.stop());

    async function api(method: string, path: string, body?: unknown): Promise<string> {
      const json = body === undefined ? {} : { headers: { "content-type": "application/json" }, body: JSON.stringify(body) };
      const answer = await registry.send(method, `/api/v1${path}`, json);
      const text = await answer.text();
      assert.ok(answer.ok, `${method} ${path}: ${text}`);
      return text;
    }
    async function list(query: string, path = "/audit"): Promise<AuditRecordView[]> {
      const items: AuditRecordView[] = [];
      for (let after = ""; ;) {
        const page = JSON.parse(await api("GET", `${path}?limit=3&${query}${after}`)) as { items: AuditRecordView[]; next: string | null };
        items.push(...page.items);
        if (page.next === null) return items;
        after = `&after=${page.next}`;
      }
    }
    /** Waits until something is on record. */
    async function found(query: string, count: number): Promise<AuditRecordView[]> {
      for (;;) {
        const items = await list(query);
        if (items.length >= count) return items;
        await sleep(50);
      }
    }

    await t.test("has what was done, with who did it and from where, by every filter and in both orders", async () => {
      await api("POST", "/projects", { name: "team" });
      await api("POST", "/users", { name: "alice", password: "a long password" });
      await api("PUT", "/projects/team/members/alice", { role: "guest" });
      await api("PUT", "/projects/team/members/alice", { role: "owner" });
      const { digest } = await registry.pushImage("team/app", "one");
      await registry.send("DELETE", "/v2/team/app/manifests/one");
      await found("action=tag.deleted", 1);
      const all = await list("");
      // A minute that is over puts more logins on record.
      const known = (records: AuditRecordView[]) => records.filter(({ id }) => Number(id) <= all.length);
      assert.deepEqual(
        all.map(({ id }) => Number(id)),
        Array.from({ length: all.length }, (_, at) => all.length - at),
      );
      assert.deepEqual(known(await list("order=oldest")), all.toReversed());
      const [changed] = await list("account=alice&action=member.changed");
      assert.deepEqual([changed?.before, changed?.after], [{ role: "guest" }, { role: "owner" }]);
      assert.deepEqual(
        [changed?.actor.name, changed?.actor.via, changed?.address, changed?.project],
        ["admin", "password", "127.0.0.1", "team"],
      );
      const [moved] = await list("action=tag.moved");
      assert.deepEqual([moved?.repository, moved?.reference, moved?.digest], ["team/app", "one", digest]);
      const by: Record<string, (record: AuditRecordView) => boolean> = {
        "action=tag.*": ({ action }) => action.startsWith("tag."),
        "action=member.changed": ({ action }) => action === "member.changed",
        "outcome=done": ({ outcome }) => outcome === "done",
        "actor=admin": ({ actor }) => actor.name === "admin",
        "account=alice": ({ account }) => account === "alice",
        "project=team": ({ project }) => project === "team",
        "repository=team/app": ({ repository }) => repository === "team/app",
        [`digest=${digest}`]: (record) => record.digest === digest,
        "address=127.0.0.1": ({ address }) => address === "127.0.0.1",
        [`requestId=${moved!.requestId}`]: ({ requestId }) => requestId === moved!.requestId,
        [`from=${moved!.at}`]: ({ at }) => at >= moved!.at,
        [`to=${moved!.at}`]: ({ at }) => at < moved!.at,
        "project=team&action=tag.*&outcome=done": ({ action, project }) => project === "team" && action.startsWith("tag."),
        "actor=nobody": () => false,
        "from=2100-01-01T00:00:00Z": () => false,
      };
      for (const [query, test] of Object.entries(by)) assert.deepEqual(known(await list(query)), all.filter(test), query);
      assert.deepEqual(
        known(await list("", "/projects/team/audit")),
        all.filter(({ project }) => project === "team"),
      );
    });

    await t.test("shows a project nothing of one of the same name that was before it", async () => {
      await api("POST", "/projects", { name: "again" });
      await api("DELETE", "/projects/again");
      await api("POST", "/projects", { name: "again" });
      await found("project=again&action=project.created", 2);
      const shown = await list("", "/projects/again/audit");
      assert.equal(shown.filter(({ action }) => action === "project.created").length, 1);
      assert.equal(new Set(shown.map(({ projectId }) => projectId)).size, 1);
    });

    await t.test("has pulls, logins and refusals, alike ones counted together", async () => {
      for (let pull = 0; pull < 3; pull++) await registry.send("GET", "/v2/team/app/manifests/pulled");
      const { digest: pulled } = await registry.pushImage("team/app", "pulled");
      for (let pull = 0; pull < 5; pull++) assert.equal((await registry.send("GET", "/v2/team/app/manifests/pulled")).status, 200);
      await registry.send("GET", `/v2/team/app/manifests/${pulled}`);
      const basic = (name: string, password: string) => ({
        authorization: `Basic ${Buffer.from(`${name}:${password}`).toString("base64")}`,
      });
      for (let login = 0; login < 3; login++) await registry.send("GET", "/v2/", { headers: basic("mallory", "wrong") });
      const refused = await registry.send("GET", "/api/v1/users", { headers: basic("alice", "a long password") });
      assert.equal(refused.status, 403);
      const pulls = await found("action=manifest.pulled&digest=" + pulled, 1);
      assert.deepEqual([pulls[0]?.repository, pulls[0]?.actor.name, pulls[0]?.address], ["team/app", "admin", "127.0.0.1"]);
      const tagged = (await list("action=manifest.pulled")).filter(({ reference }) => reference === "pulled");
      assert.equal(
        tagged.reduce((sum, { times }) => sum + times, 0),
        5,
      );
      const [login] = await found("action=login.refused&account=mallory", 1);
      assert.deepEqual([login?.outcome, login?.actor.kind, login?.after], ["failed", "anonymous", { code: "UNAUTHORIZED" }]);
      const [denied] = await found("action=request.refused&actor=alice", 1);
      assert.deepEqual([denied?.outcome, denied?.after], ["refused", { code: "DENIED", operation: "listUsers" }]);
    });

    await t.test("is exported whole, as lines and as a table, and proven", async () => {
      const lines = (await api("GET", "/audit/records")).trimEnd().split("\n");
      assert.deepEqual(
        lines.map((line) => JSON.parse(line) as unknown),
        (await list("order=oldest")).slice(0, lines.length),
      );
      const rest = (await api("GET", "/audit/records?after=3")).split("\n");
      assert.match(rest[0]!, /"id":"4"/);
      const csv = await registry.send("GET", "/api/v1/audit/records", { headers: { accept: "text/csv" } });
      assert.match(await csv.text(), /^id,at,action,/);
      const progress = (await api("GET", "/audit/verification"))
        .trimEnd()
        .split("\n")
        .map((line) => JSON.parse(line) as AuditVerificationView);
      const { records = 0, ...end } = progress.at(-1) ?? {};
      assert.deepEqual(end, { segments: 1, lastRecord: records, isDone: true, problems: [], removed: null });
      assert.ok(records >= lines.length);
      const { items } = JSON.parse(await api("GET", "/audit/segments")) as { items: { lastId: number; publicKey: string }[] };
      assert.ok(items[0]!.lastId >= lines.length);
      assert.match(items[0]!.publicKey, /BEGIN PUBLIC KEY/);
    });
  });
}
