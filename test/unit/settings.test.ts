import { evictDurableObject, runInDurableObject } from "cloudflare:test";
import * as v from "valibot";
import { describe, expect, it } from "vitest";
import { type Holding, SettingsCopy } from "../../src/channel/settings.ts";
import { ChannelSettings } from "../../src/protocol/schemas.ts";
import { call, newChannel, newOpenChannel, stubOf, whileAway } from "./support.ts";

const holding = (message_history: ChannelSettings["message_history"]) => ({
  channel: "room/*",
  authDatabase: null,
  settings: v.parse(ChannelSettings, { message_history }),
});
const events = { changed: () => {}, failed: () => {} };

describe("an object's copy of its channel's settings", () => {
  it("serves on while D1 fails, also after hibernation", async () => {
    const channel = await newOpenChannel();
    expect((await call("POST", "/message", { channel, message: 1 }, null)).status).toBe(201);
    await evictDurableObject(stubOf(channel));
    await whileAway("channels", async () => {
      expect((await call("POST", "/message", { channel, message: 2 }, null)).status).toBe(201);
      const unknown = await call("POST", "/message", { channel: newChannel(), message: 1 }, null);
      expect(unknown.status).toBe(503);
    });
  });

  it("keeps a change that it was told of while an older answer was on its way", () =>
    runInDurableObject(stubOf(newChannel()), async (_, { storage }) => {
      const answer = Promise.withResolvers<Holding>();
      const copy = new SettingsCopy(storage.kv, () => answer.promise, events);
      const refreshed = copy.refreshed();
      copy.set(holding(25));
      answer.resolve(holding(100));
      await refreshed;
      expect(copy.current).toEqual(holding(25).settings);
    }));

  it("is the same after a restart", () =>
    runInDurableObject(stubOf(newChannel()), async (_, { storage }) => {
      const load = async () => holding(50);
      await new SettingsCopy(storage.kv, load, events).refreshed();
      expect(new SettingsCopy(storage.kv, load, events).current).toEqual(holding(50).settings);
    }));
});
