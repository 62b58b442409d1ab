import { describe, expect, it } from "vitest";
import { type Action, decide, type Identity } from "../../src/auth/policy.ts";
import { ChannelSettings } from "../../src/protocol/schemas.ts";
import * as v from "valibot";

const ANYBODY: Identity = { kind: "anonymous" };
const SERVER: Identity = { kind: "server" };
const ACTIONS: Action[] = ["publish", "subscribe", "message", "history"];

const open = { anonymous_clients: true, message_history: 100, public_messaging: { active: true } };

/** The page docs/permissions.md shows this table. */
describe("who may do what (AUT2)", () => {
  it.each<[string, Identity, object | null, Record<Action, true | string>]>([
    ["server", SERVER, null, { publish: true, subscribe: true, message: true, history: true }],
    ["server", SERVER, {}, { publish: true, subscribe: true, message: true, history: true }],
    [
      "anybody",
      ANYBODY,
      null,
      { publish: "unauthorized", subscribe: "unauthorized", message: "unauthorized", history: "unauthorized" },
    ],
    [
      "anybody",
      ANYBODY,
      {},
      { publish: "unauthorized", subscribe: "unauthorized", message: "unauthorized", history: "unauthorized" },
    ],
    [
      "anybody",
      ANYBODY,
      { ...open, anonymous_clients: false },
      { publish: "unauthorized", subscribe: "unauthorized", message: "unauthorized", history: "unauthorized" },
    ],
    ["anybody", ANYBODY, open, { publish: true, subscribe: true, message: true, history: true }],
    [
      "anybody",
      ANYBODY,
      { ...open, message_history: 0 },
      { publish: true, subscribe: true, message: true, history: "forbidden" },
    ],
    [
      "anybody",
      ANYBODY,
      { ...open, public_messaging: { active: false } },
      { publish: "forbidden", subscribe: true, message: "forbidden", history: true },
    ],
    [
      "anybody",
      ANYBODY,
      { ...open, public_messaging: { active: true, auth: true } },
      { publish: "unauthorized", subscribe: true, message: "unauthorized", history: true },
    ],
  ])("%s, %o, %o", (_, who, settings, expected) => {
    const parsed = settings === null ? null : v.parse(ChannelSettings, settings);
    const decisions = ACTIONS.map((action) => {
      const decision = decide(who, action, parsed);
      return [action, decision.ok || decision.fault.code];
    });
    expect(Object.fromEntries(decisions)).toEqual(expected);
  });
});
