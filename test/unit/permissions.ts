import * as v from "valibot";
import page from "../../docs/permissions.md?raw";
import type { Action } from "../../src/auth/policy.ts";
import { ChannelSettings } from "../../src/protocol/schemas.ts";

/** One row of the table in docs/permissions.md. */
export interface Row {
  who: string;
  /** What is different from an open channel: `public_messaging.auth: true`. */
  difference: string;
  /** `yes`, or the code of the refusal, for each action. */
  expected: Record<Action, string>;
}

const OPEN = {
  anonymous_clients: true,
  presence: true,
  message_history: 100,
  public_messaging: { active: true },
  private_messaging: { active: true },
};

/** Returns a row's settings, null if it has none. `database` is the auth database of the page's users. */
export function settingsOf({ difference }: Row, database: string): ChannelSettings | null {
  if (difference === "no settings") return null;
  const open = { ...OPEN, database };
  const [, group, member, value = ""] = /^`(\w+)(?:\.(\w+))?: (.+)`$/.exec(difference) ?? [];
  if (group === undefined) return v.parse(ChannelSettings, open);
  const changed: unknown = JSON.parse(value);
  const inner = member === undefined ? changed : { active: true, [member]: changed };
  return v.parse(ChannelSettings, { ...open, [group]: inner });
}

const cellsOf = (row: string) =>
  row
    .split("|")
    .slice(1, -1)
    .map((cell) => cell.trim());
const [header = "", , ...lines] = page
  .split("\n")
  .filter((line) => line.startsWith("|"))
  .slice(0, 30);

/** The actions of each column. */
export const COLUMNS = cellsOf(header)
  .slice(2)
  .map((cell) => cell.split(", ") as Action[]);

export const ROWS: Row[] = lines
  .map(cellsOf)
  .filter((cells) => cells.length === COLUMNS.length + 2)
  .map(([who = "", difference = "", ...cells]) => {
    const pairs = COLUMNS.flatMap((actions, index) => actions.map((action) => [action, cells[index] ?? ""]));
    return { who, difference, expected: Object.fromEntries(pairs) as Record<Action, string> };
  });
