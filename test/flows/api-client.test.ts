// The typed client against a real registry: calls, pages, streams, revisions, errors, limits of time. Not here: connections that break
// (apps/cli/src/commands/follow-job.test.ts), what is read of an answer (packages/api-client/src/read-answer.test.ts).
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { after, before, it } from "node:test";
import { followJob, listJobs } from "@berth/api/jobs";
import { getManifest, listTags } from "@berth/api/manifests";
import { createProject, deleteProject, getProject, listProjects, type ProjectView } from "@berth/api/projects";
import { exportRepositories } from "@berth/api/repositories";
import { createUser, getMe, getUser, updateUser } from "@berth/api/users";
import { type Client, createClient } from "@berth/api-client/client";
import { CallError, ConnectionError } from "@berth/api-client/errors";
import { ADMIN_PASSWORD, startTestRegistry, type TestRegistry } from "./registry.testing.ts";

const credentials = { name: "admin", secret: ADMIN_PASSWORD };
let registry: TestRegistry;
let client: Client;

before(async () => {
  registry = await startTestRegistry({}, { jobs: true });
  client = createClient({ origin: registry.origin, credentials });
});
after(() => registry.stop());

it("API client: types flow from the operation, and what is missing does not compile", async () => {
  const made: ProjectView = await client.call(createProject, { body: { name: "typed", visibility: "public" } });
  assert.equal(made.visibility, "public");
  const { name, isAdmin } = await client.call(getMe);
  assert.deepEqual({ name, isAdmin }, { name: "admin", isAdmin: true });
  assert.equal(await client.call(deleteProject, { params: { project: "typed" } }), undefined);
  // Never run: only for its types.
  const wrong = async (): Promise<void> => {
    // @ts-expect-error a parameter is missing
    await client.call(getProject);
    // @ts-expect-error a body is missing
    await client.call(createProject, {});
    // @ts-expect-error it has no such visibility
    await client.call(createProject, { body: { name: "x", visibility: "secret" } });
    // @ts-expect-error it has no body
    await client.call(getMe, { body: {} });
    // @ts-expect-error a stream is no call
    await client.call(followJob, { params: { job: "1" } });
    // @ts-expect-error a call is no stream
    client.stream(getMe);
  };
  assert.equal(typeof wrong, "function");
});

it("API client: pages and items go on until the last", async () => {
  for (const name of ["page-a", "page-b", "page-c"]) await client.call(createProject, { body: { name } });
  const sizes: number[] = [];
  for await (const { items } of client.pages(listProjects, { query: { limit: 2 } })) sizes.push(items.length);
  assert.deepEqual(sizes, [2, 2]);
  const names: string[] = [];
  for await (const { name } of client.items(listProjects, { query: { limit: 1 } })) names.push(name);
  assert.deepEqual(names, ["library", "page-a", "page-b", "page-c"]);
});

it("API client: names with slashes, records as they come, events until the reader stops", async () => {
  await registry.pushImage("page-a/deep/er", "v1");
  await registry.pushImage("page-a/other", "v1");
  const params = { project: "page-a", repository: "deep/er" };
  const { items } = await client.call(listTags, { params });
  const manifest = await client.call(getManifest, { params: { ...params, reference: "v1" } });
  assert.equal(manifest.digest, items[0]?.digest);
  const names: string[] = [];
  for await (const { name } of client.stream(exportRepositories, { params: { project: "page-a" } })) names.push(name);
  assert.deepEqual(names, ["page-a/deep/er", "page-a/other"]);
  const [job] = (await client.call(listJobs)).items;
  for await (const event of client.stream(followJob, { params: { job: job!.id } })) {
    assert.equal(event.job?.id, job!.id);
    break;
  }
});

it("API client: a write with If-Match is done only to that revision", async () => {
  await client.call(createUser, { body: { name: "ada", password: "correct horse battery" } });
  const { etag } = await client.request(getUser, { params: { user: "ada" } });
  assert.ok(etag !== undefined);
  const disable = { params: { user: "ada" }, body: { isDisabled: true }, ifMatch: etag };
  await client.call(updateUser, disable);
  await assert.rejects(client.call(updateUser, { ...disable, body: { isAdmin: true } }), { code: "PRECONDITION_FAILED", status: 412 });
});

it("API client: errors have code, status, message, detail and request id", async () => {
  const error = await client.call(createProject, { body: { name: "Not A Name" } }).catch((thrown: unknown) => thrown);
  assert.ok(error instanceof CallError);
  assert.equal(error.code, "FIELD_INVALID");
  assert.equal(error.status, 400);
  assert.match(JSON.stringify(error.detail), /body\.name/);
  assert.match(error.requestId ?? "", /^\S+$/);
  await assert.rejects(client.call(getProject, { params: { project: "nothing" } }), { code: "PROJECT_UNKNOWN", status: 404 });
  const nobody = createClient({ origin: registry.origin });
  await assert.rejects(nobody.call(getMe), { code: "UNAUTHORIZED", status: 401 });
});

it("API client: a name and a secret that are not ASCII arrive as they are", async () => {
  await client.call(createUser, { body: { name: "uwe", password: "größer als zehn 🐟" } });
  const uwe = createClient({ origin: registry.origin, credentials: { name: "uwe", secret: "größer als zehn 🐟" } });
  assert.equal((await uwe.call(getMe)).name, "uwe");
});

it("API client: an answer that does not come, a redirect and a page of something else are errors of the connection", async () => {
  const server = createServer((request, response) => {
    if (request.url?.includes("/users/me") === true) return;
    if (request.url?.includes("/projects/") === true) response.writeHead(302, { location: "https://elsewhere.example.com/" }).end();
    else response.writeHead(200).end("<html>");
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  try {
    const hasty = createClient({ origin, credentials, timeoutMs: 50 });
    await assert.rejects(hasty.call(getMe), (error) => error instanceof ConnectionError && error.problem === "timeout");
    const patient = createClient({ origin, credentials });
    await assert.rejects(patient.call(getProject, { params: { project: "x" } }), /302 and sends to https:\/\/elsewhere/);
    await assert.rejects(patient.call(listProjects), (error) => error instanceof ConnectionError && error.problem === "not-berth");
    const reason = new Error("no more");
    await assert.rejects(patient.call(getMe, { signal: AbortSignal.abort(reason) }), reason);
  } finally {
    server.closeAllConnections();
    server.close();
  }
});
