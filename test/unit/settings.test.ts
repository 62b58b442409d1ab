import { evictDurableObject, runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { describe, expect, it } from "vitest";
import { SettingsCopy } from "../../src/channel/settings.ts";
import type { ChannelSettings } from "../../src/protocol/schemas.ts";
import { call, newChannel, newOpenChannel, stubOf } from "./support.ts";

const settings = (message_history: ChannelSettings["message_history"]): ChannelSettings => ({
  anonymous_clients: true,
  message_history,
  public_messaging: { active: true, auth: false },
});

describe("an object's copy of its channel's settings", () => {
  it("serves on while D1 fails, also after hibernation", async () => {
    const channel = await newOpenChannel();
    expect((await call("POST", "/message", { channel, message: 1 }, null)).status).toBe(201);
    await evictDurableObject(stubOf(channel));
    await env.DB.exec("ALTER TABLE channels RENAME TO channels_away");
    try {
      expect((await call("POST", "/message", { channel, message: 2 }, null)).status).toBe(201);
      const unknown = await call("POST", "/message", { channel: newChannel(), message: 1 }, null);
      expect(unknown.status).toBe(503);
    } finally {
      await env.DB.exec("ALTER TABLE channels_away RENAME TO channels");
    }
  });

  it("keeps a change that it was told of while an older answer was on its way", () =>
    runInDurableObject(stubOf(newChannel()), async (_, { storage }) => {
      const answer = Promise.withResolvers<ChannelSettings | null>();
      const copy = new SettingsCopy(storage.kv, () => answer.promise);
      const refreshed = copy.refresh();
      copy.set(settings(25));
      answer.resolve(settings(100));
      await refreshed;
      expect(copy.current).toEqual(settings(25));
    }));

  it("is the same after a restart", () =>
    runInDurableObject(stubOf(newChannel()), async (_, { storage }) => {
      const load = async () => settings(50);
      await new SettingsCopy(storage.kv, load).refresh();
      expect(new SettingsCopy(storage.kv, load).current).toEqual(settings(50));
    }));
});
