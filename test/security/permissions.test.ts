// Shares the Workers runtime of this file, because starting another one costs more than its tests.
import "./restricted.ts";
import { beforeAll, describe, expect, it } from "vitest";
import type { Identity } from "../../src/auth/policy.ts";
import page from "../../docs/permissions.md?raw";
import { COMBINATIONS } from "../support/scale.ts";
import { Random } from "../support/simulation/random.ts";
import { newDatabase, stubOf, TestSocket, tokenOf } from "../unit/support.ts";
import {
  ATTEMPTS,
  byMethods,
  EARLIER,
  RESTRICTED_FRAME,
  RESUME,
  overHttp,
  overMany,
  overObject,
  overSocket,
  type Outcome,
  type Target,
} from "./attempts.ts";
import { type Action, type Caller, DEFAULTS, type Refusal, refusalsOf, sees, type Settings } from "./oracle.ts";
import { BY_API_KEY, forEach, opened, pathOf, signed, storeSettings } from "./support.ts";

/** How long all cases may take, in milliseconds. */
const TIMEOUT_MS = 1_800_000;

const SEED = 20_261_127;

/** The auth databases. Only the first one is ever named by settings. */
let users = "";
let others = "";
beforeAll(async () => {
  users = await newDatabase();
  others = await newDatabase();
});

/** Settings to try, and whether a channel has them as its own or from above. Their database, if any, is called `users`. */
interface Combination {
  name: string;
  settings: Settings | null;
  place: "own" | "pattern" | "parent";
}

const OPEN: Settings = {
  ...DEFAULTS,
  anonymous_clients: true,
  presence: true,
  message_history: 100,
  public_messaging: { active: true, auth: false },
  private_messaging: { active: true, auth: false },
  database: "users",
};

const PLACES = ["own", "pattern", "parent"] as const;
/** Each is more than the messages of all attempts on one channel. */
const DEPTHS = [100, 250, 1_000] as const;

/** The combination that a number of ten bits stands for. */
function combinationOf(bits: number): Combination {
  const has = (bit: number) => (bits & (1 << bit)) !== 0;
  const place = PLACES[bits % PLACES.length] ?? "own";
  const settings = {
    active: has(9),
    description: has(8) ? "about it" : "",
    anonymous_clients: has(0),
    presence: has(1),
    message_history: has(2) ? (DEPTHS[bits % DEPTHS.length] ?? 100) : 0,
    public_messaging: { active: has(3), auth: has(4) },
    private_messaging: { active: has(5), auth: has(6) },
    // Where the settings are the channel's own, it makes no difference.
    nested_channels: place === "parent" || has(1),
    auth_channel: has(7),
    database: has(8) ? "users" : null,
  };
  return { name: `combination ${bits}`, settings, place };
}

/** As many combinations as there is time for, in the order of their numbers. */
function sampleOf(count: number, from: number): Combination[] {
  const random = new Random(SEED);
  const all = Array.from({ length: 512 }, (_, index) => ({ bits: from + index, rank: random.next() }));
  return all
    .toSorted((a, b) => a.rank - b.rank)
    .slice(0, count)
    .map(({ bits }) => combinationOf(bits));
}

/** A row of the page's table: the caller, the difference from an open channel, and the verdict on each action. */
interface Row {
  who: string;
  difference: string;
  verdicts: Record<string, string>;
}

const [header = [], , ...lines] = page
  .split("\n")
  .filter((line) => line.startsWith("|"))
  .map((line) => line.split("|").map((cell) => cell.trim()));
const ROWS = lines
  .filter(({ length }) => length === header.length)
  .map(([, who = "", difference = "", ...cells]): Row => {
    const columns = header.slice(3).flatMap((column, index) => column.split(", ").map((name) => [name, cells[index]]));
    const verdicts = columns.filter(([name]) => name !== "");
    return { who, difference, verdicts: Object.fromEntries(verdicts) as Record<string, string> };
  });

const CALLERS: Record<string, Caller> = {
  "API-key client": { kind: "server side" },
  user: { kind: "user", database: "users" },
  "user of another database": { kind: "user", database: "others" },
  "anonymous client": { kind: "anybody" },
};

/** An open channel's settings, with the difference that a row names: `public_messaging.auth: true`. */
function differing(difference: string): Settings | null {
  if (difference === "no settings") return null;
  const [, group = "", member, value = ""] = /^`(\w+)(?:\.(\w+))?: (.+)`$/.exec(difference) ?? [];
  if (group === "") return OPEN;
  const changed: unknown = JSON.parse(value);
  if (member === undefined) return { ...OPEN, [group]: changed };
  return { ...OPEN, [group]: { active: true, auth: false, [member]: changed } };
}

const TABLE = [...new Set(ROWS.map(({ difference }) => difference))].map((name): Combination => ({
  name,
  settings: differing(name),
  place: "own",
}));

describe("the oracle", () => {
  it.each(ROWS)("agrees with docs/permissions.md: $who, $difference", ({ who, difference, verdicts }) => {
    const caller = CALLERS[who];
    if (!caller) throw new Error(`There is no caller ${who}.`);
    const settings = differing(difference);
    expect(Object.keys(verdicts)).toHaveLength(8);
    for (const [action, verdict] of Object.entries(verdicts)) {
      const refusals = refusalsOf(caller, action as Action, settings);
      expect(refusals, action).toEqual(verdict === "yes" ? [] : [verdict]);
    }
  });
});

/** A credential, and what it makes of its bearer on a channel whose auth database is `users`. */
interface Credential {
  name: string;
  headers: Record<string, string>;
  caller: Caller | "refused";
}

async function credentials(): Promise<{ valid: Credential[]; refused: Credential[] }> {
  const bearer = (token: string) => ({ Authorization: `Bearer ${token}` });
  const now = Math.floor(Date.now() / 1000);
  const claims = { sub: "42", exp: now + 3_600 };
  const valid: Credential[] = [
    { name: "API key", headers: BY_API_KEY, caller: { kind: "server side" } },
    { name: "user", headers: bearer(await tokenOf(users, 42)), caller: { kind: "user", database: users } },
    { name: "anonymous", headers: {}, caller: { kind: "anybody" } },
  ];
  const other = new TextEncoder().encode("another secret, which is of 32 bytes, too");
  const refused = (
    [
      ["expired token", await signed({ ...claims, exp: now - 60 })],
      ["forged token", await signed(claims, other)],
      ["garbage", "garbage"],
      ["wrong API key", "first-keys"],
    ] as const
  ).map(([name, token]): Credential => ({ name, headers: bearer(token), caller: "refused" }));
  return { valid, refused };
}

const hasDatabase = (settings: Settings | null) => settings !== null && settings.database !== null;

/** Whom the channel takes a caller for; "refused", if it does not take the credential. */
function takenFor({ caller }: Credential, settings: Settings | null, isShared: boolean): Caller | "refused" {
  const isToken = caller === "refused" || caller.kind === "user";
  if (!isToken || hasDatabase(settings)) return caller;
  // Where the channel has no auth database, no token is valid; over /rt/ it does not count (MUX4).
  return isShared ? { kind: "anybody" } : "refused";
}

/** What is wrong with the outcomes of a caller's attempts. */
function deviationsIn(
  label: string,
  outcomes: Outcome[],
  caller: Caller | "refused",
  settings: Settings | null,
): string[] {
  const isSocket = outcomes.length === ATTEMPTS.socket;
  const subscribing = caller === "refused" ? [] : refusalsOf(caller, "subscribe", settings);
  return outcomes.flatMap(({ action, way, outcome, seen }) => {
    const expected = isSocket && subscribing.length > 0 ? subscribing : expectedOf(caller, action, way, settings);
    const at = `${label}: ${action} by ${way}`;
    // A client that may not receive misses nothing: its resume succeeds, and replays nothing (RES1).
    if (way === RESUME && subscribing.length === 0 && caller !== "refused" && !mayReceive(caller, settings)) {
      return outcome === "yes" && seen?.length === 0 ? [] : [`${at} is ${outcome} and shows ${seen?.join()}`];
    }
    const isRight = expected.length === 0 ? outcome === "yes" : outcome === "no" || expected.includes(outcome);
    if (!isRight) return [`${at} is ${outcome}, not ${expected.join(" or ") || "yes"}`];
    if (seen === undefined || caller === "refused") return [];
    const visible = earlierIn(settings).filter(({ database }) => sees(caller, database));
    return visible.map(({ text }) => text).join() === seen.join() ? [] : [`${at} shows ${seen.join()}`];
  });
}

const mayReceive = (caller: Caller, settings: Settings | null) => refusalsOf(caller, "receive", settings).length === 0;

function expectedOf(caller: Caller | "refused", action: Action, way: string, settings: Settings | null): string[] {
  if (caller === "refused") return ["unauthorized"];
  const refusals = refusalsOf(caller, action, settings);
  if (action !== "message-authenticated") return refusals;
  // Where there is no auth database, a message cannot be restricted to its users (FRA4, EVT2).
  const isPointless: Refusal[] = hasDatabase(settings) ? [] : ["forbidden"];
  if (way === RESTRICTED_FRAME) return refusals.length > 0 ? refusals : isPointless;
  // A request that publishes must be allowed to publish as well.
  return [...refusals, ...refusalsOf(caller, "publish", settings), ...isPointless];
}

/** The messages that stand in a channel before the attempts. */
function earlierIn(settings: Settings | null): { text: string; database: string | null }[] {
  const open = { text: `${EARLIER}open`, database: null };
  const database = settings?.database ?? null;
  return database === null ? [open] : [open, { text: `${EARLIER}restricted`, database }];
}

/** Makes all attempts on a channel with these settings. */
async function tryAll(
  { name: label, settings: wanted, place }: Combination,
  all: Awaited<ReturnType<typeof credentials>>,
): Promise<{ count: number; deviations: string[] }> {
  const settings = wanted && { ...wanted, database: wanted.database && users };
  const root = `matrix/${crypto.randomUUID()}`;
  const channel = `${root}/42`;
  const storedFor = { own: channel, pattern: `${root}/*`, parent: root }[place];
  if (settings) await storeSettings({ [storedFor]: settings });

  const earlier = earlierIn(settings).map(({ text, database }) => ({
    payload: JSON.stringify(text),
    client: null,
    database,
    type: null,
  }));
  await stubOf(channel).publish([{ who: { kind: "server" }, messages: earlier }]);
  const observer = await opened(`${pathOf(channel)}/socket`, BY_API_KEY);
  observer.send({ action: "join" });
  const { client } = await observer.frame();
  const target = { channel, database: users, recipient: client?.socketId ?? "" };

  const deviations: string[] = [];
  const sent: string[] = [];
  let count = 0;
  const tryBy = async (way: string, caller: Caller | "refused", attempt: (target: Target) => Promise<Outcome[]>) => {
    const name = `${label} ${way}`;
    const outcomes = await attempt({ ...target, name });
    count += outcomes.length;
    deviations.push(...deviationsIn(name, outcomes, caller, settings));
    for (const each of outcomes) if (each.sent !== undefined && each.outcome === "yes") sent.push(each.sent);
  };

  for (const credential of [...all.valid, ...all.refused]) {
    const { name, headers } = credential;
    const alone = takenFor(credential, settings, false);
    await tryBy(`${name} over HTTP`, alone, (each) => overHttp(each, headers));
    await tryBy(`${name} over a socket`, alone, (each) => overSocket(each, headers));
    await tryBy(`${name} over /rt/`, takenFor(credential, settings, true), (each) => overMany(each, headers));
  }
  const user = { kind: "user", dbo_id: 1, row_id: 42, extras: {}, expires: Date.now() + 3_600_000 } as const;
  const identities: [string, Identity, Caller][] = [
    ["API key", { kind: "server" }, { kind: "server side" }],
    ["user", { ...user, database: users }, { kind: "user", database: users }],
    ["user of another database", { ...user, database: others }, { kind: "user", database: others }],
    ["anonymous", { kind: "anonymous" }, { kind: "anybody" }],
  ];
  for (const [name, identity, caller] of identities) {
    await tryBy(`${name} at the object`, caller, (each) => byMethods(each, identity));
    await tryBy(`${name} at the object's socket`, caller, (each) => overObject(each, identity));
  }
  deviations.push(...(await deviationsAt(observer, sent, label)));
  return { count, deviations };
}

/** What an observer received, compared with what was allowed: what is refused is not delivered (ERR3). */
async function deviationsAt(observer: TestSocket, sent: string[], label: string): Promise<string[]> {
  observer.send({ action: "leave" });
  const received: string[] = [];
  for (let frame = await observer.frame(); frame.action !== "leave"; frame = await observer.frame()) {
    const isAttempt = frame.action === "message" || frame.action === "event";
    if (isAttempt && !/ live(?: again)?$/.test(String(frame.payload))) received.push(String(frame.payload));
  }
  observer.socket.close();
  const [actual, expected] = [received.toSorted(), sent.toSorted()];
  return actual.join("\n") === expected.join("\n")
    ? []
    : [`${label}: delivered were ${actual.join()}, not ${expected.join()}`];
}

/** The attempts that are made with one combination of settings. */
const ATTEMPTS_PER_COMBINATION = 7 * (ATTEMPTS.http + 2 * ATTEMPTS.socket) + 4 * (ATTEMPTS.object + ATTEMPTS.socket);

describe("the authorization matrix (AUT2)", () => {
  it.each([
    ["each row of docs/permissions.md", TABLE],
    ["an active channel with any settings", sampleOf(COMBINATIONS.active, 512)],
    ["an inactive channel with any settings", sampleOf(COMBINATIONS.inactive, 0)],
  ])(
    "%s",
    async (_, combinations) => {
      const all = await credentials();
      const deviations: string[] = [];
      let count = 0;
      await forEach(combinations, async (combination) => {
        const tried = await tryAll(combination, all);
        count += tried.count;
        deviations.push(...tried.deviations);
      });
      expect(deviations).toEqual([]);
      expect(count).toBe(combinations.length * ATTEMPTS_PER_COMBINATION);
    },
    TIMEOUT_MS,
  );
});
