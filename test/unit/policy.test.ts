import { describe, expect, it } from "vitest";
import { decide, type Identity, mayRead } from "../../src/auth/policy.ts";
import { COLUMNS, ROWS, settingsOf } from "./permissions.ts";

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

describe("who may do what (AUT2), as docs/permissions.md says", () => {
  it("covers every action", () => {
    expect(COLUMNS.flat().toSorted()).toEqual([
      "history",
      "message",
      "message-authenticated",
      "message-private",
      "presence",
      "publish",
      "receive",
      "subscribe",
    ]);
    expect(ROWS.length).toBeGreaterThanOrEqual(25);
  });

  it.each(ROWS)("$who, $difference", (row) => {
    const identity = WHO[row.who];
    if (!identity) throw new Error(`the page knows no ${row.who}`);
    const decisions = COLUMNS.flat().map((action) => {
      const decision = decide(identity, action, settingsOf(row, "users"));
      return [action, decision.ok ? "yes" : decision.fault.code];
    });
    expect(Object.fromEntries(decisions)).toEqual(row.expected);
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
