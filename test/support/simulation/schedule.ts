import type { Size } from "./contents.ts";
import { Random } from "./random.ts";

/** The channels of a schedule: `room` has settings of its own, `hall` inherits those of a pattern. */
export type Place = "room" | "hall";
export const PLACES = ["room", "hall"] as const;

/** The callers of a schedule. `ann` carries large `extras`. */
export type Who = "server" | "ann" | "bob" | "anonymous";

/** A client: how it connects, as whom, and to which channels. */
export interface ClientPlan {
  way: "direct" | "batch" | "rt";
  who: Who;
  places: Place[];
  /** Whether it sends heartbeats. A client without heartbeats counts as slow after 8 MiB. */
  beats: boolean;
}

/** Settings that a schedule stores. Settings that are left out allow everything. */
export type SettingsChange = Record<string, unknown>;

export type Step =
  | { do: "publish"; who: Who; to: Place[]; sizes: Size[]; keyed: boolean; restricted: boolean; attributed: boolean }
  /** Repeats the nth last publish that had a key, as after a lost answer. `changed`: with another first message. */
  | { do: "retry"; nth: number; changed: boolean }
  /** Connects the client if necessary, and joins its channels. `resume`: after the last message that it saw. */
  | { do: "join"; client: number; resume: boolean; history: boolean; presence: boolean }
  | { do: "leave"; client: number; place: Place }
  | { do: "send"; client: number; place: Place; size: Size; restricted: boolean }
  | { do: "whisper"; client: number; to: number; place: Place }
  | { do: "ask history"; client: number; place: Place }
  | { do: "disconnect"; client: number }
  /** The client's sockets at the object break after so many frames; the first now, the others as they are opened. */
  | { do: "break"; client: number; place: Place; after: number[] }
  /** The sockets that are opened next at a channel's object break after so many frames. */
  | { do: "break next"; place: Place; after: number[] }
  /** The client stops sending heartbeats, without closing. */
  | { do: "vanish"; client: number }
  | { do: "evict"; place: Place; sockets: "hibernate" | "close" }
  | { do: "crash"; place: Place }
  | { do: "d1"; kind: "fail" | "slow" | "hang" | "lost" | "lost-hang"; scope: "all" | "writes"; ms: number }
  | { do: "d1 heals" }
  | { do: "settings"; of: "room" | "hall" | "hall/*"; change: SettingsChange | null }
  /** Changes the issuer that tokens must have; undefined accepts any, null deletes the auth database. */
  | { do: "database"; issuer: string | undefined | null }
  | { do: "token"; who: "ann" | "bob"; seconds: number }
  | { do: "pass"; ms: number }
  | { do: "clock"; ms: number }
  | { do: "lose alarm"; place: Place }
  /** Broadcasts more than a client may leave unconfirmed. */
  | { do: "flood"; place: Place }
  /** Publishes a message every two seconds for a while. */
  | { do: "traffic"; place: Place; seconds: number }
  | { do: "read"; who: Who; place: Place }
  /** An anonymous client tries a channel that has no settings. */
  | { do: "knock" };

export type StepOf<Kind extends Step["do"]> = Extract<Step, { do: Kind }>;

export interface Schedule {
  seed: number;
  clients: ClientPlan[];
  steps: Step[];
}

const STEPS = { least: 15, most: 40 };
const CLIENTS = { least: 2, most: 5 };
/** Messages in the largest batches. */
const MANY = 300;

const people = ["server", "ann", "bob", "anonymous"] as const;

/** The schedule of a seed. */
export function scheduleOf(seed: number): Schedule {
  const random = new Random(seed);
  const clients = Array.from({ length: random.between(CLIENTS.least, CLIENTS.most) }, () => planOf(random));
  const kinds = favoured(random);
  const joins: Step[] = clients.flatMap((_, client) =>
    random.chance(0.7)
      ? { do: "join", client, resume: false, history: random.chance(0.5), presence: random.chance(0.5) }
      : [],
  );
  const steps = Array.from({ length: random.between(STEPS.least, STEPS.most) }, () =>
    random.weighted(kinds)(random, clients.length),
  );
  return { seed, clients, steps: [...joins, ...steps] };
}

function planOf(random: Random): ClientPlan {
  const way = random.pick(["direct", "batch", "rt"]);
  const both = way === "rt" && random.chance(0.5);
  return {
    way,
    who: random.pick(people),
    places: both ? [...PLACES] : [random.pick(PLACES)],
    beats: random.chance(0.85),
  };
}

/** The kinds of steps with random weights for one schedule. Some kinds are left out, so that schedules differ. */
function favoured(random: Random): [number, Maker][] {
  return KINDS.map(([weight, maker], index) => [index < 2 ? weight : weight * random.pick([0, 0.5, 1, 1, 3]), maker]);
}

type Maker = (random: Random, clients: number) => Step;

const client = (random: Random, clients: number) => random.between(0, clients - 1);
const size = (random: Random) =>
  random.weighted<Size>([
    [12, "small"],
    [2, "quotes"],
    [2, "multibyte"],
    [1, "large"],
  ]);

/** One message, or a batch; rarely a batch so large that the `extras` of its sender exceed what D1 takes at once. */
function sizesOf(random: Random): Size[] {
  const count = random.weighted([
    [60, 1],
    [20, 3],
    [10, 12],
    [1, MANY],
  ]);
  return Array.from({ length: count }, () => (count === MANY ? "small" : size(random)));
}

/** After how many frames sockets break, one after another. */
function framesOf(random: Random): number[] {
  return Array.from({ length: random.between(1, 3) }, () => random.between(0, 4));
}

/** The kinds of steps and how often they are taken. The first two are never left out. */
const KINDS: [number, Maker][] = [
  [
    24,
    (random) => ({
      do: "publish",
      who: random.weighted([
        [5, "server"],
        [2, "ann"],
        [1, "bob"],
        [2, "anonymous"],
      ]),
      to: random.weighted([
        [4, ["room"]],
        [4, ["hall"]],
        [2, ["room", "hall"]],
      ]),
      sizes: sizesOf(random),
      keyed: random.chance(0.4),
      restricted: random.chance(0.15),
      attributed: random.chance(0.15),
    }),
  ],
  [
    10,
    (random, clients) => ({
      do: "join",
      client: client(random, clients),
      resume: random.chance(0.8),
      history: random.chance(0.3),
      presence: random.chance(0.4),
    }),
  ],
  [5, (random) => ({ do: "retry", nth: random.between(0, 3), changed: random.chance(0.15) })],
  [3, (random, clients) => ({ do: "leave", client: client(random, clients), place: random.pick(PLACES) })],
  [
    10,
    (random, clients) => ({
      do: "send",
      client: client(random, clients),
      place: random.pick(PLACES),
      size: size(random),
      restricted: random.chance(0.2),
    }),
  ],
  [
    2,
    (random, clients) => ({
      do: "whisper",
      client: client(random, clients),
      to: client(random, clients),
      place: random.pick(PLACES),
    }),
  ],
  [2, (random, clients) => ({ do: "ask history", client: client(random, clients), place: random.pick(PLACES) })],
  [3, (random, clients) => ({ do: "disconnect", client: client(random, clients) })],
  [
    4,
    (random, clients) => ({
      do: "break",
      client: client(random, clients),
      place: random.pick(PLACES),
      after: framesOf(random),
    }),
  ],
  [3, (random) => ({ do: "break next", place: random.pick(PLACES), after: framesOf(random) })],
  [0.7, (random, clients) => ({ do: "vanish", client: client(random, clients) })],
  [7, (random) => ({ do: "evict", place: random.pick(PLACES), sockets: random.pick(["hibernate", "close"]) })],
  [0.5, (random) => ({ do: "crash", place: random.pick(PLACES) })],
  [
    5,
    (random) => ({
      do: "d1",
      kind: random.pick(["fail", "slow", "hang", "lost", "lost-hang"]),
      scope: random.pick(["all", "writes"]),
      ms: random.pick([300, 1_500, 4_000, 20_000]),
    }),
  ],
  [6, () => ({ do: "d1 heals" })],
  [
    5,
    (random) => ({
      do: "settings",
      of: random.weighted([
        [2, "room"],
        [1, "hall"],
        [3, "hall/*"],
      ]),
      change: random.chance(0.15) ? null : changeOf(random),
    }),
  ],
  [
    0.7,
    (random) => ({
      do: "database",
      issuer: random.weighted([
        [2, "https://one.test"],
        [2, undefined],
        [1, null],
      ]),
    }),
  ],
  [2, (random) => ({ do: "token", who: random.pick(["ann", "bob"]), seconds: random.pick([5, 20, 60, 3_600]) })],
  [12, (random) => ({ do: "pass", ms: random.pick([5, 100, 1_000, 1_000, 6_000, 6_000, 16_000, 40_000, 120_000]) })],
  [2, (random) => ({ do: "clock", ms: random.pick([-60_000, -5_000, -10, 10, 5_000, 60_000]) })],
  [2, (random) => ({ do: "lose alarm", place: random.pick(PLACES) })],
  [0.06, (random) => ({ do: "flood", place: random.pick(PLACES) })],
  [0.15, (random) => ({ do: "traffic", place: random.pick(PLACES), seconds: 80 })],
  [3, (random) => ({ do: "read", who: random.pick(people), place: random.pick(PLACES) })],
  [0.4, () => ({ do: "knock" })],
];

/** Forbids some of what an open channel allows, or nothing. */
function changeOf(random: Random): SettingsChange {
  const changes: SettingsChange[] = [
    { active: false },
    { anonymous_clients: false },
    { presence: false },
    { message_history: random.pick([0, 25]) },
    { public_messaging: { active: false } },
    { public_messaging: { active: true, auth: true } },
    { private_messaging: { active: false } },
    { auth_channel: true },
    { database: null },
  ];
  const chosen = changes.filter(() => random.chance(0.15));
  return Object.assign({}, ...(random.chance(0.3) ? [] : chosen)) as SettingsChange;
}

/** A schedule as text, one line per step. */
export function textOf({ seed, clients, steps }: Schedule): string {
  const lines = [
    ...clients.map((plan, index) => `client ${index}: ${wordsOf(plan)}`),
    ...steps.map(({ do: action, ...more }, index) => `${String(index + 1).padStart(2)}. ${action} ${wordsOf(more)}`),
  ];
  return [`schedule of seed ${seed}`, ...lines].join("\n  ");
}

function wordsOf(fields: object): string {
  return Object.entries(fields)
    .filter(([, value]) => value !== false)
    .map(([name, value]) =>
      value === true ? name : `${name}=${typeof value === "string" ? value : JSON.stringify(value)}`,
    )
    .join(" ");
}
