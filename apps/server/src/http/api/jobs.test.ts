// Jobs on the control plane, on every engine: lists by kind, state and project in pages, one with what it said, cancelled, tried again.
// Not here: how runs end (events/job-runs.test.ts), roles one by one (test/flows/access-matrix.test.ts).
import assert from "node:assert/strict";
import { once } from "node:events";
import { get, type IncomingMessage } from "node:http";
import { after, before, it } from "node:test";
import { addProject, addUser, basic, createTestClock, TEST_PASSWORD, type TestClock } from "../../access/access.testing.ts";
import { createJobStore, putJob, type TakenJob } from "../../events/job-store.ts";
import { forEachDatabase, type TestDatabase } from "../../platform/database/databases.testing.ts";
import { startTestApi, type TestApi } from "./api.testing.ts";
import { MAX_EVENT_STREAMS } from "./event-places.ts";

const ADMIN = ["admin", TEST_PASSWORD] as const;
/** More than one request looks at. */
const MANY = 10_500;

forEachDatabase("jobs on the control plane", (create) => {
  let test: TestDatabase;
  let api: TestApi;
  let clock: TestClock;
  let projectId: number;

  before(async () => {
    test = await create();
    clock = createTestClock();
    api = await startTestApi(test.database, clock);
    await addUser(test.database, "admin", { isAdmin: true });
    projectId = await addProject(test.database, "shop");
  });
  after(async () => {
    await api.end();
    await test.end();
  });

  async function ask(kind: string, ...subjects: string[]): Promise<void> {
    await test.database.transaction(async (tx) => {
      for (const subject of subjects) await putJob(tx, { kind, subject, projectId: kind === "scan" ? projectId : 0 }, clock.now());
    });
  }
  async function take(kind: string): Promise<TakenJob> {
    const lease = { holder: "one", until: clock.now() + 30_000, now: clock.now() };
    return (await createJobStore(test.database).take(kind, -1, lease))!;
  }
  async function everyPage(query: string): Promise<{ subjects: string[]; pages: number }> {
    const subjects: string[] = [];
    let after = "";
    for (let pages = 1; ; pages++) {
      const { status, body } = await api.call(ADMIN, "GET", `/jobs?${query}${after}`);
      assert.equal(status, 200);
      subjects.push(...(body.items as { subject: string }[]).map(({ subject }) => subject));
      if (body.next === null) return { subjects, pages };
      after = `&after=${encodeURIComponent(body.next)}`;
    }
  }

  it("are listed newest first, by kind, state and project, in pages that lead to each once", async () => {
    await ask("scan", "a", "b", "c");
    await ask("send", "d", "e");
    assert.deepEqual(await everyPage("limit=2"), { subjects: ["e", "d", "c", "b", "a"], pages: 3 });
    assert.deepEqual((await everyPage("limit=2&kind=scan")).subjects, ["c", "b", "a"]);
    assert.deepEqual((await everyPage("project=shop")).subjects, ["c", "b", "a"]);
    const job = await take("send");
    await createJobStore(test.database).end(job, "failed", "no answer", clock.now());
    assert.deepEqual((await everyPage("limit=1&state=ready")).subjects, ["e", "c", "b", "a"]);
    assert.deepEqual((await everyPage("limit=1&state=ready&kind=scan")).subjects, ["c", "b", "a"]);
    assert.deepEqual((await everyPage("state=failed")).subjects, ["d"]);
    assert.deepEqual((await everyPage("state=failed&project=shop")).subjects, []);
    for (const [query, code] of [
      ["project=none", "PROJECT_UNKNOWN"],
      ["state=broken", "FIELD_INVALID"],
      ["kind=No", "FIELD_INVALID"],
      ["after=x", "PAGE_INVALID"],
      ["after=12.3", "PAGE_INVALID"],
      ["state=ready&after=12", "PAGE_INVALID"],
    ] as const) {
      assert.equal((await api.call(ADMIN, "GET", `/jobs?${query}`)).code, code, query);
    }
  });

  it("are shown with their progress, attempts, error and lines", async () => {
    await ask("build", "image");
    const job = await take("build");
    const store = createJobStore(test.database);
    await store.renew(job, clock.now() + 30_000, { done: 3, total: 9 });
    await store.addLine(job, "layer 3 of 9", clock.now());
    const at = new Date(clock.now()).toISOString();
    const shown = await api.call(ADMIN, "GET", `/jobs/${job.id}`);
    const running = {
      id: String(job.id),
      kind: "build",
      subject: "image",
      project: null,
      state: "running",
      attempt: 1,
      progress: { done: 3, total: 9 },
      error: null,
      isCancelled: false,
      createdAt: at,
      dueAt: null,
      startedAt: at,
      endedAt: null,
    };
    assert.deepEqual(shown.body, { ...running, lines: [{ at, line: "layer 3 of 9" }] });
    await store.end(job, "failed", "no disk", clock.now());
    const { lines: _, ...ended } = (await api.call(ADMIN, "GET", `/jobs/${job.id}`)).body;
    assert.deepEqual(ended, { ...running, state: "failed", error: "no disk", endedAt: at });
    for (const [path, code] of [
      ["/jobs/999999", "JOB_UNKNOWN"],
      ["/jobs/0", "FIELD_INVALID"],
      ["/jobs/9999999999999999", "FIELD_INVALID"],
    ] as const) {
      assert.equal((await api.call(ADMIN, "GET", path)).code, code, path);
    }
  });

  it("are cancelled while they wait or run, and say by whom; what has ended is not", async () => {
    await ask("prune", "waits", "runs");
    const running = await take("prune");
    await ask("prune", "waits");
    const waiting = (await api.call(ADMIN, "GET", "/jobs?kind=prune&state=ready")).body.items[0].id;
    const cancelled = await api.call(ADMIN, "POST", `/jobs/${waiting}/cancel`);
    assert.deepEqual([cancelled.body.state, cancelled.body.isCancelled], ["cancelled", true]);
    const told = await api.call(ADMIN, "POST", `/jobs/${running.id}/cancel`);
    assert.deepEqual([told.body.state, told.body.isCancelled], ["running", true]);
    const { lines } = (await api.call(ADMIN, "GET", `/jobs/${running.id}`)).body;
    assert.deepEqual(lines.at(-1).line, "cancelled by admin");
    assert.equal((await api.call(ADMIN, "POST", `/jobs/${waiting}/cancel`)).code, "JOB_ENDED");
    assert.equal((await api.call(ADMIN, "POST", "/jobs/999999/cancel")).code, "JOB_UNKNOWN");
  });

  it("that failed are tried again from the first attempt, unless another one waits for the same subject", async () => {
    await ask("copy", "image");
    const job = await take("copy");
    const path = `/jobs/${job.id}/retry`;
    assert.equal((await api.call(ADMIN, "POST", path)).code, "JOB_NOT_FAILED");
    await createJobStore(test.database).end(job, "failed", "no route", clock.now());
    await ask("copy", "image");
    assert.equal((await api.call(ADMIN, "POST", path)).code, "JOB_EXISTS");
    const other = await take("copy");
    await createJobStore(test.database).end(other, "succeeded", undefined, clock.now());
    const again = await api.call(ADMIN, "POST", path);
    assert.deepEqual([again.body.state, again.body.attempt, again.body.endedAt], ["ready", 0, null]);
    assert.equal((await api.call(ADMIN, "POST", path)).code, "JOB_NOT_FAILED");
    assert.equal((await take("copy")).attempt, 1);
    assert.equal((await api.call(ADMIN, "POST", "/jobs/999999/retry")).code, "JOB_UNKNOWN");
  });

  it("that failed of one subject are tried again once, whoever asks for it at the same time", async () => {
    // More rounds find more, where it is not so; none can find anything where it is.
    for (let round = 0; round < 5; round++) {
      const failed: number[] = [];
      for (let i = 0; i < 8; i++) {
        await ask("twin", `${round}`);
        const job = await take("twin");
        await createJobStore(test.database).end(job, "failed", "no route", clock.now());
        failed.push(job.id);
      }
      const answers = await Promise.all(failed.map((id) => api.call(ADMIN, "POST", `/jobs/${id}/retry`)));
      assert.deepEqual(answers.map(({ status, code }) => `${status} ${code}`).toSorted(), [
        "200 ",
        ...Array.from({ length: 7 }, () => "409 JOB_EXISTS"),
      ]);
      await createJobStore(test.database).end(await take("twin"), "succeeded", undefined, clock.now());
    }
  });

  it("are looked at in bounded number by one request, whose short page leads on", async () => {
    await ask("rare", "first");
    for (let at = 0; at < MANY; at += 500) await ask("flood", ...Array.from({ length: 500 }, (_, i) => `${at + i}`));
    const first = await api.call(ADMIN, "GET", "/jobs?kind=rare");
    assert.deepEqual(first.body.items, []);
    assert.notEqual(first.body.next, null);
    assert.deepEqual((await everyPage("kind=rare")).subjects, ["first"]);
    assert.deepEqual((await everyPage("kind=rare&state=ready")).subjects, ["first"]);
  });

  it("are followed: what is there, what changes, from behind what a client has, and to the end", async () => {
    await ask("follow", "one");
    const job = await take("follow");
    const store = createJobStore(test.database);
    await store.addLine(job, "first", clock.now());
    const events = async function* (lastEventId?: string) {
      const response = await fetch(`${api.origin}/api/v1/jobs/${job.id}/events`, {
        headers: { authorization: basic(...ADMIN), ...(lastEventId === undefined ? {} : { "last-event-id": lastEventId }) },
      });
      assert.equal(response.status, 200);
      let text = "";
      for await (const piece of response.body!.pipeThrough(new TextDecoderStream())) {
        text += piece;
        for (let end = text.indexOf("\n\n"); end !== -1; end = text.indexOf("\n\n")) {
          const data = /^data: (.*)$/m.exec(text.slice(0, end))?.[1];
          text = text.slice(end + 2);
          if (data !== undefined)
            yield JSON.parse(data) as { id: string; kind: string; line: string | null; job: { state: string } | null };
        }
      }
    };
    const seen: string[] = [];
    for await (const { id, kind, line, job: state } of events()) {
      seen.push(`${id} ${kind} ${line ?? state?.state}`);
      if (seen.length === 2) {
        await store.addLine(job, "second", clock.now());
        await store.end(job, "succeeded", undefined, clock.now());
      }
    }
    assert.deepEqual(seen, ["1 line first", "1 state running", "2 line second", "2 state succeeded"]);
    assert.deepEqual(
      (await Array.fromAsync(events("1"))).map(({ kind, line }) => [kind, line]),
      [
        ["line", "second"],
        ["state", null],
      ],
    );
    // What is no number of a line, though a program may take it for one; and one of another job.
    for (const id of ["Infinity", "1e3", "0x1", "-1", "1.5"])
      assert.equal((await api.call(ADMIN, "GET", `/jobs/${job.id}/events`, undefined, { "last-event-id": id })).code, "FIELD_INVALID", id);
    assert.equal((await Array.fromAsync(events("77"))).length, 3);
    assert.equal((await api.call(ADMIN, "GET", "/jobs/999999999/events")).code, "JOB_UNKNOWN");
    // More often than there are places: what is refused keeps none.
    for (let i = 0; i <= MAX_EVENT_STREAMS; i++)
      assert.equal((await api.call(ADMIN, "GET", `/jobs/${job.id}/events`, undefined, { "last-event-id": "a b" })).code, "FIELD_INVALID");
  });

  it("are followed by so many streams of one account at a time, and no stream outlives its client", async () => {
    await ask("crowd", "one");
    const job = await take("crowd");
    for (const name of ["crowd", "other"]) await addUser(test.database, name, { isAdmin: true });
    // Not fetch, which cancels an answer that nobody holds any more.
    const open = async (name: string): Promise<{ status: number | undefined; leave: () => void }> => {
      const request = get(`${api.origin}/api/v1/jobs/${job.id}/events`, { agent: false, auth: `${name}:${TEST_PASSWORD}` });
      const [answer] = (await once(request, "response")) as [IncomingMessage];
      answer.on("error", () => undefined).resume();
      return { status: answer.statusCode, leave: () => request.destroy() };
    };
    const streams = [await open("crowd")];
    while (streams.length < MAX_EVENT_STREAMS) streams.push(await open("crowd"));
    assert.deepEqual(new Set(streams.map(({ status }) => status)), new Set([200]));
    const refused = await api.call(["crowd", TEST_PASSWORD], "GET", `/jobs/${job.id}/events`);
    assert.deepEqual([refused.status, refused.code, refused.headers.get("retry-after")], [429, "TOOMANYREQUESTS", "10"]);
    const others = await open("other");
    assert.equal(others.status, 200);
    streams[0]!.leave();
    let next = await open("crowd");
    while (next.status === 429) next = await open("crowd");
    assert.equal(next.status, 200);
    for (const { leave } of [...streams, others, next]) leave();
  });
});
