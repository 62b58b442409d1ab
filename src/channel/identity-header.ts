import * as v from "valibot";
import type { Identity } from "../auth/policy.ts";
import { DatabaseName, DatabaseNumber, JsonObject, UserId } from "../protocol/schemas.ts";

/** Carries the caller's identity from the Worker to the object, which is reached through the Worker only. */
export const IDENTITY_HEADER = "X-Identity";

const Milliseconds = v.pipe(v.number(), v.finite(), v.minValue(0));

const IdentitySchema = v.variant("kind", [
  v.object({ kind: v.literal("server") }),
  v.object({ kind: v.literal("anonymous") }),
  v.object({
    kind: v.literal("user"),
    database: DatabaseName,
    dbo_id: DatabaseNumber,
    row_id: UserId,
    extras: JsonObject,
    expires: Milliseconds,
    issued: v.optional(Milliseconds),
  }),
]) satisfies v.GenericSchema<Identity>;

/** Returns the header's value: visible ASCII, at most three times the bytes of the identity's JSON. */
export function identityHeaderOf(who: Identity): string {
  return encodeURIComponent(JSON.stringify(who));
}

/** Returns the identity that a request carries. Throws if there is none, or one that no Worker would send. */
export function identityOf(headers: Headers): Identity {
  return v.parse(IdentitySchema, JSON.parse(decodeURIComponent(headers.get(IDENTITY_HEADER) ?? "")));
}
