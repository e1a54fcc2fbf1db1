// Runs the contract on every store. Not here: the contract itself (blob-store.contract.ts).
import { describe } from "node:test";
import { describeBlobStore } from "./blob-store.contract.ts";
import { forEachBlobStore } from "./blob-stores.testing.ts";

forEachBlobStore((name, create) => {
  if (typeof create === "function") describeBlobStore(name, create);
  else describe(`blob store: ${name}`, { skip: create.skip });
});
