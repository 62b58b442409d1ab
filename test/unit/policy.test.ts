import { describe, expect, it } from "vitest";
import * as v from "valibot";
import page from "../../docs/permissions.md?raw";
import { type Action, decide, type Identity, mayRead } from "../../src/auth/policy.ts";
import { ChannelSettings } from "../../src/protocol/schemas.ts";

const user = (database: string): Identity => ({
  kind: "user",
  database,
  dbo_id: 1,
  row_id: 42,
  extras: {},
  expires: Infinity,
});

const WHO: Record<string, Identity> = {
  "server side": { kind: "server" },
  user: user("users"),
  "user of another database": user("others"),
  anybody: { kind: "anonymous" },
};

const OPEN = {
  anonymous_clients: true,
  presence: true,
  message_history: 100,
  public_messaging: { active: true },
  private_messaging: { active: true },
  database: "users",
};

/** An open channel's settings, with one changed as the page says: `public_messaging.auth: true`. */
function settingsOf(difference: string): ChannelSettings | null {
  if (difference === "no settings") return null;
  const [, group, member, value = ""] = /^`(\w+)(?:\.(\w+))?: (.+)`$/.exec(difference) ?? [];
  if (group === undefined) return v.parse(ChannelSettings, OPEN);
  const changed: unknown = JSON.parse(value);
  const inner = member === undefined ? changed : { active: true, [member]: changed };
  return v.parse(ChannelSettings, { ...OPEN, [group]: inner });
}

const cellsOf = (row: string) =>
  row
    .split("|")
    .slice(1, -1)
    .map((cell) => cell.trim());
const [header = "", , ...rows] = page
  .split("\n")
  .filter((line) => line.startsWith("|"))
  .slice(0, 30);
const columns = cellsOf(header)
  .slice(2)
  .map((cell) => cell.split(", ") as Action[]);
const table = rows.filter((row) => cellsOf(row).length === columns.length + 2).map(cellsOf);

describe("who may do what (AUT2), as docs/permissions.md says", () => {
  it("covers every action", () => {
    expect(columns.flat().toSorted()).toEqual([
      "history",
      "message",
      "message-authenticated",
      "message-private",
      "presence",
      "publish",
      "receive",
      "subscribe",
    ]);
    expect(table.length).toBeGreaterThanOrEqual(25);
  });

  it.each(table)("%s, %s", (who, difference, ...expected) => {
    const identity = WHO[who ?? ""];
    if (!identity) throw new Error(`the page knows no ${who}`);
    const decisions = columns.map((actions) =>
      actions.map((action) => {
        const decision = decide(identity, action, settingsOf(difference ?? ""));
        return decision.ok ? "yes" : decision.fault.code;
      }),
    );
    expect(decisions).toEqual(columns.map((actions, index) => actions.map(() => expected[index])));
  });

  it.each([
    ["server side", "users", true],
    ["user", "users", true],
    ["user", "others", false],
    ["anybody", "users", false],
    ["anybody", null, true],
    ["user", null, true],
  ])("%s may read a message for %s: %s", (who, database, expected) => {
    expect(mayRead(WHO[who] as Identity, { database })).toBe(expected);
  });
});
