import { runDurableObjectAlarm } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { describe, expect, it, vi } from "vitest";
import { HistoryStore } from "../../src/history/store.ts";
import { messageFrame, type StoredMessage } from "../../src/protocol/frames.ts";
import { MAX_PAGE_BYTES } from "../../src/protocol/limits.ts";
import type { Frame } from "../support/frames.ts";
import {
  archived,
  call,
  connectToMany,
  history,
  interceptWrites,
  join,
  newDatabase,
  newOpenChannel,
  stubOf,
  tokenOf,
} from "./support.ts";

const ANONYMOUS = { socketId: "", permissions: { dbo_id: 0, row_id: 0 }, extras: {} };

/** Publishes a message by each endpoint, by an API key unless `key` says otherwise. */
async function publishTwice(channel: string, key?: string | null): Promise<void> {
  expect((await call("POST", "/message", { channel, message: 1 }, key)).status).toBe(201);
  const batch = await call("POST", "/messages", [{ channel, message: 2 }], key);
  expect(await batch.json()).toMatchObject({ results: [{ status: 201 }] });
}

/** Returns the frames of messages 1 and 2, by the way in which a client got them. */
async function waysOf(channel: string, publish: () => Promise<void>): Promise<Record<string, Frame[]>> {
  const [live, multiplexed] = [await join(channel), await connectToMany()];
  multiplexed.send({ action: "join", options: { channel } });
  await multiplexed.frame();
  await publish();
  const [late, resumed] = [await join(channel, {}, { history: true }), await join(channel, { after: 0 })];
  await runDurableObjectAlarm(stubOf(channel));
  await vi.waitUntil(async () => (await archived(channel)).length === 2);
  const rows = await new HistoryStore(env.DB).read(channel, { from: 1, to: 2 }, "forward", MAX_PAGE_BYTES);
  return {
    live: await live.frames(2),
    "live over /rt/": await multiplexed.frames(2),
    "the history frame": (await late.frame()).payload as Frame[],
    "a resume": await resumed.frames(2),
    "history by HTTP": (await history(channel)).messages as Frame[],
    "the archive": rows.map((row: StoredMessage) => JSON.parse(messageFrame(channel, row)) as Frame),
  };
}

/** For each way the clients of messages 1 and 2. */
function clientsOf(ways: Record<string, Frame[]>): Record<string, unknown[]> {
  return Object.fromEntries(Object.entries(ways).map(([way, frames]) => [way, frames.map(({ client }) => client)]));
}

const everyWay = (client: unknown) => {
  const ways = ["live", "live over /rt/", "the history frame", "a resume", "history by HTTP", "the archive"];
  return Object.fromEntries(ways.map((way) => [way, [client, client]]));
};

describe("the client of an event (EVT4)", () => {
  it("is an anonymous client if the publisher sent no credentials", async () => {
    const channel = await newOpenChannel();
    const ways = await waysOf(channel, () => publishTwice(channel, null));
    expect(clientsOf(ways)).toEqual(everyWay(ANONYMOUS));
  });

  it("is the user who published it", async () => {
    const database = await newDatabase({ dbo_id: 99_000_002 });
    const channel = await newOpenChannel({ database });
    const ways = await waysOf(channel, async () => publishTwice(channel, await tokenOf(database, 7)));
    expect(clientsOf(ways)).toEqual(
      everyWay({ socketId: "", permissions: { dbo_id: 99_000_002, row_id: 7 }, extras: {} }),
    );
  });

  it("is missing only if an API-key client published it and named no sender", async () => {
    const channel = await newOpenChannel();
    const ways = await waysOf(channel, () => publishTwice(channel));
    expect(clientsOf(ways)).toEqual(everyWay(undefined));
  });

  it("travels to the archive once per batch, however many messages are from it", async () => {
    const channel = await newOpenChannel();
    const clients: unknown[] = [];
    const writes = interceptWrites((write, params) => {
      clients.push(params[0]);
      return write();
    });
    const batch = Array.from({ length: 1_000 }, (_, message) => ({ channel, message }));
    expect((await call("POST", "/messages", batch, null)).status).toBe(200);
    await runDurableObjectAlarm(stubOf(channel));
    await vi.waitUntil(async () => (await archived(channel)).length === 1_000);
    writes.mockRestore();
    expect(clients).toContain(JSON.stringify([JSON.stringify(ANONYMOUS)]));
  });
});
