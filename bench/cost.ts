import type { Counts } from "./counts.ts";
import type { Outcome } from "./load/main.ts";
import { atOnce } from "./load/at-once.ts";
import { Publisher } from "./load/publisher.ts";
import { messageText } from "./message.ts";
import { CHANNEL, DIALECTS } from "./peers.ts";
import type { Server } from "./server.ts";

/** Prices in dollars per million, beyond the included amounts (developers.cloudflare.com: pricing of Workers, Durable Objects and D1; 2026). */
const PRICES: Counts = { workerRequests: 0.3, objectRequests: 0.15, objectRows: 1, databaseRows: 1 };

/** The traffic patterns: simultaneous publishers, messages per request, and messages in total. */
const WAYS: Record<string, { publishers: number; batch: number; messages: number }> = {
  "one publisher": { publishers: 1, batch: 1, messages: 1_000 },
  "64 publishers": { publishers: 64, batch: 1, messages: 5_000 },
  "16 publishers, batches of 100": { publishers: 16, batch: 100, messages: 50_000 },
};

/** Returns the price of a million messages, from the billed operations while messages are published and archived. Excludes CPU and duration. */
export async function costPerMillion({ port }: Server): Promise<Outcome> {
  const outcome: Outcome = {};
  for (const [name, { publishers, batch, messages }] of Object.entries(WAYS)) {
    const before = await countsOf(port);
    const publisher = new Publisher(port, DIALECTS.single, publishers);
    const texts = Array.from({ length: batch }, () => messageText(0));
    await atOnce(publishers, messages / batch, () => publisher.publish(CHANNEL, texts));
    await publisher.close();
    const after = await archived(port);
    for (const [billed, price] of Object.entries(PRICES) as [keyof Counts, number][]) {
      const each = (after[billed] - before[billed]) / messages;
      outcome[`${name}, ${billed} a message`] = each;
      outcome[`${name}, dollars a million`] = (outcome[`${name}, dollars a million`] ?? 0) + each * price;
    }
  }
  return outcome;
}

/** Returns the counts once they no longer change, because the whole backlog is in D1. */
async function archived(port: number): Promise<Counts> {
  for (let last = ""; ;) {
    await new Promise((resolve) => setTimeout(resolve, 3_000));
    const counts = await countsOf(port);
    if (JSON.stringify(counts) === last) return counts;
    last = JSON.stringify(counts);
  }
}

async function countsOf(port: number): Promise<Counts> {
  return (await (await fetch(`http://127.0.0.1:${port}/counts`)).json()) as Counts;
}
