import { Hono } from "hono";
import { databaseOf, forgetSettings } from "../settings/known-settings.ts";
import { SettingsStore } from "../settings/channel-settings.ts";
import type { Env } from "../env.ts";
import { FaultError } from "../protocol/errors.ts";
import { ChannelSettings } from "../protocol/channel-settings.ts";
import { validate } from "../protocol/validate.ts";
import { ChannelPattern } from "../protocol/values.ts";
import { requireApiKey } from "./caller.ts";
import { fromD1 } from "./d1.ts";
import { listPage } from "./listing.ts";
import { type AppContext, jsonBody, stubOf, unwrap } from "./request.ts";

/**
 * The endpoints of settings, for API-key clients only: `GET`, `PUT` and `DELETE /channels/{channel}` for a channel or a
 * pattern (`room/*`), and `GET /channels` to list them.
 */
export const settings = new Hono<{ Bindings: Env }>()
  .get("/channels", async (c) => {
    await requireApiKey(c);
    const store = new SettingsStore(c.env.DB);
    const { items, next } = await listPage(
      c,
      (after, limit) => fromD1(c, () => store.list(after, limit)),
      ({ channel }) => channel,
    );
    return c.json({ channels: items, next });
  })
  .get("/channels/:channel", async (c) => {
    await requireApiKey(c);
    const channel = patternOf(c);
    const stored = await fromD1(c, () => new SettingsStore(c.env.DB).get(channel));
    if (stored === null)
      throw new FaultError({ code: "not-found", detail: `There are no settings stored for ${channel}.` });
    return c.json(stored);
  })
  .put("/channels/:channel", async (c) => {
    await requireApiKey(c);
    const channel = patternOf(c);
    const changed = await jsonBody(c, ChannelSettings);
    const { database } = changed;
    if (database !== null && unwrap(await databaseOf(database, c.env)) === null) {
      throw new FaultError({
        code: "invalid-field",
        detail: `There is no auth database ${database}.`,
        field: "database",
      });
    }
    await fromD1(c, () => new SettingsStore(c.env.DB).put(channel, changed));
    await pushSettings(c, channel);
    return c.json({ channel, settings: changed });
  })
  .delete("/channels/:channel", async (c) => {
    await requireApiKey(c);
    const channel = patternOf(c);
    await fromD1(c, () => new SettingsStore(c.env.DB).delete(channel));
    await pushSettings(c, channel);
    return c.body(null, 204);
  });

/**
 * Sends a channel its new settings. The channels that a pattern matches are not known here; they load the settings
 * themselves.
 */
async function pushSettings(c: AppContext, channel: string): Promise<void> {
  forgetSettings(channel);
  if (channel.endsWith("*")) return;
  const began = Date.now();
  const effective = await fromD1(c, () => new SettingsStore(c.env.DB).resolve(channel));
  await stubOf(c, channel).configure(effective, Date.now() - began);
}

function patternOf(c: AppContext): string {
  return unwrap(validate(ChannelPattern, c.req.param("channel"), "channel"));
}
