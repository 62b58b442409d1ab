import { createClient } from "../../src/client.ts";
import { indexedDbOutbox } from "../../src/indexed-db-outbox.ts";

/** What outbox.test.ts bundles and loads into a page: a client that keeps its messages in IndexedDB. */
const outbox = indexedDbOutbox();

Object.assign(globalThis, {
  open: (name: string) => createClient({ outbox }).channel(name),
  kept: async (name: string) => (await outbox.load(name)).length,
});
