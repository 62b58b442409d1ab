import { createStore, del, entries, set } from "idb-keyval";
import type { KeptMessage, OutboxStorage } from "./outbox.ts";

/** By channel, and then in the order in which the messages were sent. */
type Key = [channel: string, at: number, id: string];

/**
 * Keeps the messages that have no answer in the browser's IndexedDB, so that they survive a reload of the page.
 *
 * @param name The name of the database. Give each user of a browser, and each server, a database of its own: the stored messages
 *   are sent with the credentials of the next client that opens their channel.
 */
export function indexedDbOutbox(name = "durable-channels-outbox"): OutboxStorage {
  const store = createStore(name, "messages");
  return {
    load: async (channel) => {
      const all = await entries<Key, KeptMessage>(store);
      return all.filter(([[of]]) => of === channel).map(([, message]) => message);
    },
    put: (message) => set(keyOf(message), message, store),
    remove: (message) => del(keyOf(message), store),
  };
}

const keyOf = ({ channel, at, id }: KeptMessage): Key => [channel, at, id];
