import { evictDurableObject, runInDurableObject } from "cloudflare:test";
import * as v from "valibot";
import { afterEach, describe, expect, it, vi } from "vitest";
import type { EffectiveSettings } from "../../src/settings/channel-settings.ts";
import { SettingsCopy } from "../../src/channel/settings.ts";
import { ChannelSettings } from "../../src/protocol/channel-settings.ts";
import { call, newChannel, newOpenChannel, stubOf, whileAway } from "./support.ts";

afterEach(() => vi.restoreAllMocks());

const holding = (message_history: ChannelSettings["message_history"]) => ({
  channel: "room/*",
  authDatabase: null,
  settings: v.parse(ChannelSettings, { message_history }),
});
const events = { changed: () => {}, failed: () => {} };

describe("an object's copy of its channel's settings", () => {
  it("still applies while D1 fails, also after hibernation", async () => {
    const channel = await newOpenChannel();
    expect((await call("POST", "/message", { channel, message: 1 }, null)).status).toBe(201);
    await evictDurableObject(stubOf(channel));
    await whileAway("channels", async () => {
      expect((await call("POST", "/message", { channel, message: 2 }, null)).status).toBe(201);
      const unknown = await call("POST", "/message", { channel: newChannel(), message: 1 }, null);
      expect(unknown.status).toBe(503);
    });
  });

  it("keeps a change that arrived while an older answer was on its way", () =>
    runInDurableObject(stubOf(newChannel()), async (_, { storage }) => {
      const answer = Promise.withResolvers<EffectiveSettings | null>();
      const copy = new SettingsCopy(storage.kv, () => answer.promise, events);
      const refreshed = copy.refreshed();
      copy.set(holding(25));
      answer.resolve(holding(100));
      await refreshed;
      expect(copy.current).toEqual(holding(25).settings);
    }));

  it("is fresh again after a load that never returned, even if it was not used for long", () =>
    runInDurableObject(stubOf(newChannel()), async (_, { storage }) => {
      const now = Date.now();
      let load = async (): Promise<EffectiveSettings | null> => holding(25);
      const copy = new SettingsCopy(storage.kv, () => load(), events);
      await copy.refreshed();
      for (const [hour, depth] of [
        [1, 50],
        [2, 100],
      ] as const) {
        load = () => new Promise(() => {});
        vi.spyOn(Date, "now").mockReturnValue(now + hour * 3_600_000 - 1_800_000);
        await copy.refreshed();
        expect(copy.isUsable()).toBe(true);
        load = async () => holding(depth);
        vi.spyOn(Date, "now").mockReturnValue(now + hour * 3_600_000);
        expect(copy.isUsable()).toBe(false);
        await copy.refreshed();
        expect(copy.current).toEqual(holding(depth).settings);
      }
    }));

  it("is the same after a restart", () =>
    runInDurableObject(stubOf(newChannel()), async (_, { storage }) => {
      const load = async () => holding(50);
      const copy = new SettingsCopy(storage.kv, load, events);
      await copy.refreshed();
      expect(storage.kv.get("settings")).toBeUndefined();
      copy.store();
      expect(new SettingsCopy(storage.kv, load, events).current).toEqual(holding(50).settings);
    }));
});
