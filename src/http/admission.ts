import { decideBySettings } from "../settings/known-settings.ts";
import type { Identity } from "../auth/policy.ts";
import { UNAVAILABLE } from "../channel/settings.ts";
import type { Result } from "../protocol/errors.ts";
import type { ChannelSettings } from "../protocol/channel-settings.ts";
import type { AppContext } from "./request.ts";

/**
 * Decides in the Worker whether a caller may reach a channel's object. A refused caller must not reach it, because a
 * call creates the object, for any name. The object decides again by its own copy of the settings.
 *
 * @param decide Called with the settings that hold for the channel, null if none hold. Not called for an API-key
 *   client.
 */
export async function admission(
  c: AppContext,
  channel: string,
  who: Identity,
  decide: (settings: ChannelSettings | null) => Result<null>,
): Promise<Result<null>> {
  if (who.kind === "server") return ADMITTED;
  const decision = await decideBySettings(channel, c.env, (effective) => decide(effective?.settings ?? null));
  return decision ?? UNAVAILABLE;
}

const ADMITTED = { ok: true, value: null } as const;
