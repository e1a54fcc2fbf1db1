// A thread that copies SQLite's write-ahead log into the database file, so that its fsyncs never run on the event loop. Not here: when it
// runs (sqlite.ts).
import { DatabaseSync } from "node:sqlite";
import { parentPort, workerData } from "node:worker_threads";

const { path } = workerData as { path: string };
const connection = new DatabaseSync(path, { timeout: 5000 });
connection.exec("pragma synchronous = normal");
const checkpoint = connection.prepare("pragma wal_checkpoint(passive)");

parentPort?.on("message", () => {
  try {
    checkpoint.all();
    parentPort?.postMessage({});
  } catch (error) {
    parentPort?.postMessage({ error: String(error) });
  }
});
