import { Hono } from "hono";
import { SettingsStore } from "../auth/settings.ts";
import type { Env } from "../env.ts";
import { FaultError } from "../protocol/errors.ts";
import { ChannelSettings } from "../protocol/schemas.ts";
import { type AppContext, channelOf, identityOf, jsonBody, stubOf } from "./request.ts";

/** `GET`, `PUT`, `DELETE /channels/{channel}`: a channel's settings, for the server side only. */
export const settings = new Hono<{ Bindings: Env }>()
  .get("/channels/:channel", async (c) => {
    const channel = channelOf(c);
    await requireServer(c);
    const stored = await new SettingsStore(c.env.DB).get(channel);
    if (stored === null) throw new FaultError({ code: "not-found", detail: `${channel} has no settings.` });
    return c.json({ channel, settings: stored });
  })
  .put("/channels/:channel", async (c) => {
    const channel = channelOf(c);
    await requireServer(c);
    const changed = await jsonBody(c, ChannelSettings);
    await new SettingsStore(c.env.DB).put(channel, changed);
    await stubOf(c, channel).configure(changed);
    return c.json({ channel, settings: changed });
  })
  .delete("/channels/:channel", async (c) => {
    const channel = channelOf(c);
    await requireServer(c);
    await new SettingsStore(c.env.DB).delete(channel);
    await stubOf(c, channel).configure(null);
    return c.body(null, 204);
  });

async function requireServer(c: AppContext): Promise<void> {
  const who = await identityOf(c);
  if (who.kind === "server") return;
  throw new FaultError({ code: "unauthorized", detail: "Settings are for the server side: send an API key." });
}
