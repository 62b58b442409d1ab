import { env } from "cloudflare:workers";
import { afterAll, beforeAll, expect, it } from "vitest";
import { forgetSettings } from "../../src/auth/known-settings.ts";
import { ARRANGED } from "../support/scale.ts";
import { Random } from "../support/simulation/random.ts";
import { newDatabase } from "../unit/support.ts";
import { type Caller, DEFAULTS, refusalsOf, type Settings, settingsFor } from "./oracle.ts";
import { ask, BY_API_KEY, forEach, outcomeOf, pathOf, storeSettings } from "./support.ts";

/** Where settings may be stored for `a/b/c`, each with settings that no other place has. */
const OPEN: Settings = { ...DEFAULTS, anonymous_clients: true };
const VISIBLE: Settings = { ...OPEN, message_history: 100, presence: true };
const PLACES: Record<string, Settings[]> = {
  "a/b/c": [VISIBLE, DEFAULTS],
  "a/b/*": [{ ...VISIBLE, presence: false }, DEFAULTS],
  "a/b": [
    { ...VISIBLE, nested_channels: true },
    { ...VISIBLE, nested_channels: false },
    { ...DEFAULTS, nested_channels: true },
  ],
  "a/*": [{ ...VISIBLE, message_history: 0 }, DEFAULTS],
  a: [
    { ...VISIBLE, active: false, nested_channels: true },
    { ...VISIBLE, nested_channels: false },
  ],
};

/** Each way to choose one of the settings, or none, for each of the places. */
const ARRANGEMENTS = Object.entries(PLACES).reduce<Record<string, Settings>[]>(
  (all, [place, choices]) =>
    all.flatMap((chosen) => [chosen, ...choices.map((settings) => Object.assign({ [place]: settings }, chosen))]),
  [{}],
);
/** Those to try: all, or a sample. */
const random = new Random(20_261_127);
const TRIED = ARRANGEMENTS.map((arrangement) => ({ arrangement, rank: random.next() }))
  .toSorted((a, b) => a.rank - b.rank)
  .slice(0, ARRANGED)
  .map(({ arrangement }) => arrangement);
const CHANNELS = ["a/b/c", "a/b", "a/b/d/e", "a/x"];
const ANYBODY: Caller = { kind: "anybody" };

/** For all channels there are; the tests of this file are the only ones that see it. */
const ALL: Settings = { ...OPEN, presence: true };
beforeAll(async () => storeSettings({ "*": ALL }));
afterAll(async () => {
  await env.DB.prepare("DELETE FROM channels WHERE name = '*'").run();
  forgetSettings("*");
});

it("the nearest settings hold, whole (SET1)", async () => {
  const roots = TRIED.map(() => `nest-${crypto.randomUUID().slice(0, 13)}`);
  // A root of its own for each arrangement: `a/b/*` becomes `nest-1/b/*`.
  const renamed = (index: number, name: string) => `${roots[index]}${name.slice(1)}`;
  const stored = TRIED.map((arrangement, index) =>
    Object.fromEntries(Object.entries(arrangement).map(([name, settings]) => [renamed(index, name), settings])),
  );
  await storeSettings(Object.assign({}, ...stored) as Record<string, Settings>);

  const deviations: string[] = [];
  let count = 0;
  const indices = TRIED.map((_, index) => index);
  await forEach(indices, async (index) => {
    for (const name of CHANNELS) {
      const channel = renamed(index, name);
      const settings = settingsFor(channel, { ...stored[index], "*": ALL });
      for (const [action, path] of [
        ["history", "messages"],
        ["presence", "presence"],
      ] as const) {
        const outcome = await outcomeOf(await ask(`${pathOf(channel)}/${path}`));
        const expected = refusalsOf(ANYBODY, action, settings);
        const isRight = expected.length === 0 ? outcome === "yes" : expected.some((code) => code === outcome);
        const label = `${Object.keys(TRIED[index] ?? {}).join()}: ${action} of ${name}`;
        if (!isRight) deviations.push(`${label} is ${outcome}, not ${expected.join(" or ") || "yes"}`);
        count += 1;
      }
    }
  });
  expect(deviations).toEqual([]);
  expect(ARRANGEMENTS).toHaveLength(3 * 3 * 4 * 3 * 3);
  expect(count).toBe(ARRANGED * CHANNELS.length * 2);
}, 600_000);

it("a pattern itself is no channel, and its settings are for the API key only (AUT3)", async () => {
  for (const name of ["*", "room/*"]) {
    expect(await outcomeOf(await ask(`${pathOf(name)}/messages`))).toBe("invalid-field");
    expect(await outcomeOf(await ask(`${pathOf(name)}/socket`, { headers: { Upgrade: "websocket" } }))).toBe(
      "invalid-field",
    );
    expect(await outcomeOf(await ask(pathOf(name)))).toBe("unauthorized");
  }
  expect(await outcomeOf(await ask(pathOf("*"), { headers: BY_API_KEY }))).toBe("yes");
});

it("whoever has no API key manages nothing (AUT1, AUT3)", async () => {
  const database = await newDatabase();
  const requests: [method: string, path: string][] = [
    ["GET", "/channels"],
    ["GET", pathOf("managed")],
    ["PUT", pathOf("managed")],
    ["DELETE", pathOf("managed")],
    ["GET", `${pathOf("managed")}/stats`],
    ["GET", "/databases"],
    ["GET", `/databases/${database}`],
    ["PUT", `/databases/${database}`],
    ["DELETE", `/databases/${database}`],
    ["POST", `/databases/${database}/tokens`],
  ];
  const credentials: Record<string, string>[] = [
    {},
    { Authorization: "Bearer first-keys" },
    { Authorization: "Bearer first-key,second-key" },
    { Authorization: "Bearer first-ke" },
    { Authorization: "Bearer FIRST-KEY" },
    { Authorization: "Bearer " },
    { Authorization: "Basic Zmlyc3Qta2V5Og==" },
    { Authorization: "first-key" },
    { "X-Identity": '{"kind":"server"}' },
    { "X-Identity": encodeURIComponent('{"kind":"server"}'), "CF-Connecting-IP": "127.0.0.1" },
    { Cookie: "Authorization=Bearer first-key" },
  ];
  for (const [method, path] of requests) {
    for (const headers of credentials) {
      const body = method === "PUT" || method === "POST" ? "{}" : null;
      const answer = await ask(path, { method, headers: { "Content-Type": "application/json", ...headers }, body });
      expect(await outcomeOf(answer), `${method} ${path} with ${JSON.stringify(headers)}`).toBe("unauthorized");
    }
  }
  expect(await outcomeOf(await ask(pathOf("managed"), { headers: BY_API_KEY }))).toBe("not-found");
  expect(await outcomeOf(await ask(`/databases/${database}`, { headers: BY_API_KEY }))).toBe("yes");
});
