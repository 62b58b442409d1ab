import { judgeBySettings } from "../settings/known-settings.ts";
import type { Identity } from "../auth/policy.ts";
import { UNAVAILABLE } from "../channel/settings.ts";
import type { Result } from "../protocol/errors.ts";
import type { ChannelSettings } from "../protocol/channel-settings.ts";
import type { AppContext } from "./request.ts";

/**
 * Decides in the Worker whether a caller may go on to a channel's object. A refused caller never reaches it: a call would
 * create the object, for any name. The object decides again by itself, by its own copy of the settings.
 *
 * @param judge Decides by the settings that hold for the channel, null if none hold. Not called for an API key.
 */
export async function admission(
  c: AppContext,
  channel: string,
  who: Identity,
  judge: (settings: ChannelSettings | null) => Result<null>,
): Promise<Result<null>> {
  if (who.kind === "server") return ADMITTED;
  const judged = await judgeBySettings(channel, c.env, (holding) => judge(holding?.settings ?? null));
  return judged ?? UNAVAILABLE;
}

const ADMITTED = { ok: true, value: null } as const;
