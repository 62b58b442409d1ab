import { runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import * as v from "valibot";
import { afterEach, describe, expect, it, vi } from "vitest";
import {
  LOG_CAPACITY,
  MAX_BODY_BYTES,
  MAX_CHANNELS_PER_SOCKET,
  MAX_STORAGE_BYTES_FOR_KEYS,
  MAX_JSON_DEPTH,
  MAX_SOCKETS_PER_USER,
  FRAMES_AT_ONCE,
} from "../../src/protocol/limits.ts";
import { Problem } from "../../src/api-docs/answers.ts";
import * as frames from "../../src/api-docs/frames.ts";
import type { Operation } from "../../src/api-docs/operation.ts";
import { RESULT_ERRORS } from "../../src/api-docs/operations-clients.ts";
import { OPERATIONS, OTHER_ERRORS } from "../../src/api-docs/operations.ts";
import { app } from "../../src/http/app.ts";
import { type ErrorCode, ERRORS } from "../../src/protocol/errors.ts";
import {
  API_KEY,
  bringBack,
  connect,
  join,
  newChannel,
  newDatabase,
  newOpenChannel,
  publishMany,
  request,
  stubOf,
  takeAway,
  TestSocket,
  tokenOf,
} from "./support.ts";

afterEach(() => vi.restoreAllMocks());

/** What a request is made of; a provocation changes what it needs to. */
interface Attempt {
  channel: string;
  database: string;
  headers: Record<string, string>;
  body: unknown;
  /** In place of the body's JSON. */
  text?: string;
  query?: string;
  /** Bindings that are not the real ones. */
  bindings?: object;
}

/** Makes a request that would be taken into one that is refused, by the code of the refusal. */
type Provocation = (attempt: Attempt, operation: Operation) => Partial<Attempt> | Promise<Partial<Attempt>>;

const bearer = (credential: string) => ({ Authorization: `Bearer ${credential}` });
const failing = (failure: Error) => {
  const fail = () => Promise.reject(failure);
  return {
    getByName: () => ({
      publish: fail,
      history: fail,
      state: fail,
      locate: fail,
      presence: fail,
      fetch: fail,
      configure: fail,
    }),
  };
};
const NO_D1 = {
  prepare: () => ({
    bind: () => NO_D1.prepare(),
    run: async () => raise(),
    all: async () => raise(),
    raw: async () => raise(),
  }),
};

function raise(): never {
  throw new Error("D1_ERROR: on purpose");
}

const PROVOCATIONS: Record<
  Exclude<ErrorCode, "not-joined" | "too-many-channels" | "not-text" | "method-not-allowed">,
  Provocation
> = {
  "invalid-json": () => ({ text: "{" }),
  "invalid-number": () => ({ text: '{"message": 1e999}' }),
  "too-deep": () => ({ text: "[".repeat(MAX_JSON_DEPTH + 1) + "]".repeat(MAX_JSON_DEPTH + 1) }),
  "too-large": (_, { id }) => ({ text: JSON.stringify("x".repeat(id === "publishMany" ? 2 ** 20 : MAX_BODY_BYTES)) }),
  "unsupported-media-type": ({ headers }) => ({ headers: { ...headers, "Content-Type": "text/plain" } }),
  "invalid-field": (_, { body, path }) => {
    if (body) return { text: '{"unknown": 1}' };
    return path.includes("{") && !path.includes("{canonical}")
      ? { channel: "a b", database: "a b" }
      : { query: "?limit=0&frames=none" };
  },
  unauthorized: ({ headers }) => ({ headers: { ...headers, Authorization: "Bearer" } }),
  "wrong-origin": ({ headers }) => ({ headers: { ...headers, Origin: "https://evil.test" } }),
  "rate-limited": ({ headers }) => ({
    headers: without("Authorization", headers),
    bindings: { RATE_LIMITER: { limit: () => Promise.resolve({ success: false }) } },
  }),
  forbidden: async ({ headers }, { id }) => {
    if (id === "makeToken")
      return { database: await newDatabase({ secret: undefined, jwks: { keys: [] }, extras_claim: undefined }) };
    return { channel: await newOpenChannel({ active: false }), headers: without("Authorization", headers) };
  },
  "quota-exceeded": async ({ headers }) => ({
    channel: await newOpenChannel({ anonymous_bytes_per_day: 0 }),
    headers: without("Authorization", headers),
  }),
  "key-reused": async ({ channel, headers, body }) => {
    const all = { ...headers, "Idempotency-Key": crypto.randomUUID() };
    const batch = Array.isArray(body);
    const other = { channel, message: "another" };
    const init = { method: "POST", headers: all, body: JSON.stringify(batch ? [other] : other) };
    expect((await request(batch ? "/messages" : "/message", init)).ok).toBe(true);
    return { headers: all };
  },
  "not-found": (_, { id }) => ({
    channel: "never/set",
    database: "never-set",
    ...(id === "openMultiplexedSocket" && { bindings: { REALTIME_CANONICAL: "another" } }),
  }),
  "wrong-host": () => ({ bindings: { LOCAL_HOSTS: "my-machine" } }),
  "upgrade-required": ({ headers }) => ({ headers: without("Upgrade", headers) }),
  "too-many-sockets": async () => {
    const database = await newDatabase();
    const channel = await newOpenChannel({ database });
    const token = await tokenOf(database, 1);
    for (let n = 0; n < MAX_SOCKETS_PER_USER; n++) await join(channel, {}, {}, token);
    return { channel, headers: { Upgrade: "websocket", ...bearer(token) } };
  },
  "unknown-recipient": ({ channel, body }) => {
    const message = { channel, message: 1, socketId: "nobody's" };
    return { body: Array.isArray(body) ? [message] : message };
  },
  "keys-full": async ({ channel, headers }) => {
    await fillKeys(channel);
    return { headers: { ...headers, "Idempotency-Key": crypto.randomUUID() } };
  },
  "backlog-full": async ({ channel }) => {
    await fill(channel);
    return {};
  },
  unavailable: async (_, { id }) => {
    if (id === "health") return { bindings: { DB: NO_D1 } };
    if (id === "makeToken") return { database: await newDatabase({ secret: "AUTH_SECRET_SHORT" }) };
    return { bindings: { DB: NO_D1, CHANNELS: failing(Object.assign(new Error("reset"), { retryable: true })) } };
  },
  internal: () => ({ bindings: { API_KEYS: {}, CHANNELS: failing(new Error("a mistake of ours")) } }),
};

function without(name: string, headers: Record<string, string>): Record<string, string> {
  return Object.fromEntries(Object.entries(headers).filter(([key]) => key !== name));
}

async function fillKeys(channel: string): Promise<void> {
  await runInDurableObject(stubOf(channel), (_, { storage }) => {
    const sql = Object.getPrototypeOf(storage.sql) as SqlStorage;
    vi.spyOn(sql, "databaseSize", "get").mockReturnValue(MAX_STORAGE_BYTES_FOR_KEYS.server);
  });
}

/** Lets a channel's log run full: nothing reaches D1 until its table is brought back. */
async function fill(channel: string): Promise<void> {
  vi.spyOn(console, "error").mockImplementation(() => {});
  await publishMany(channel, ["0"]);
  await takeAway("messages");
  for (const free of [LOG_CAPACITY - 1, 2])
    await publishMany(
      channel,
      Array.from({ length: free }, () => "0"),
    );
  await bringBack("messages");
}

/** A request as it would be taken. */
async function taken({ access, body, id, answer }: Operation): Promise<Attempt> {
  const [channel, database] = [await newOpenChannel(), await newDatabase()];
  const bodies: Partial<Record<string, unknown>> = {
    publish: { channel, message: 1 },
    publishMany: [{ channel, message: 1 }],
    writeSettings: {},
    writeDatabase: { dbo_id: crypto.getRandomValues(new Uint32Array(1))[0], secret: "AUTH_SECRET" },
    makeToken: { id: 42 },
    disconnectUsers: { id: 42 },
  };
  return {
    channel,
    database,
    headers: {
      ...(access === "none" ? {} : bearer(API_KEY)),
      ...(body && { "Content-Type": "application/json" }),
      ...(answer.status === 101 && { Upgrade: "websocket" }),
    },
    body: bodies[id],
  };
}

async function send(attempt: Attempt, { method, path }: Operation): Promise<Response> {
  const { channel, database, headers, body, text, query = "", bindings } = attempt;
  const names: Record<string, string> = { channel, name: database, canonical: "any", code: "never-heard-of" };
  const filled = path.replace(/\{(\w+)\}/, (_, name: string) => encodeURIComponent(names[name] ?? ""));
  // The body names the channel, so it has to change together with the channel.
  const json = JSON.stringify(body, (field, value: unknown) => (field === "channel" ? channel : value));
  const init = { method: method.toUpperCase(), headers, body: text ?? json ?? null };
  return app.request(`https://channels.test${filled}${query}`, init, { ...env, ...bindings });
}

describe("openapi.json", () => {
  it("has each route of the app, and no other", () => {
    const isRoute = ({ method, path }: { method: string; path: string }) => method !== "ALL" && path !== "/*";
    const served = app.routes
      .filter(isRoute)
      .map(({ method, path }) => `${method} ${path.replaceAll(/:(\w+)/g, "{$1}")}`);
    const described = OPERATIONS.map(({ method, path }) => `${method.toUpperCase()} ${path}`);
    expect(described.toSorted()).toEqual([...new Set(served)].toSorted());
  });

  it("names each error, or asyncapi.json does", () => {
    const named = [
      ...OPERATIONS.flatMap(({ errors }) => errors),
      ...RESULT_ERRORS,
      ...OTHER_ERRORS,
      ...frames.FRAME_ERRORS,
    ];
    expect([...new Set(named)].toSorted()).toEqual(Object.keys(ERRORS).toSorted());
  });

  const pairs = OPERATIONS.flatMap((operation) => {
    return operation.errors.map((code) => ({ operation, code, name: `${operation.method} ${operation.path}` }));
  });

  it.each(pairs)("documents an error that really occurs: $name: $code", async ({ operation, code }) => {
    vi.spyOn(console, "error").mockImplementation(() => {});
    const attempt = await taken(operation);
    if (code === "unavailable" && operation.id === "health") vi.spyOn(Date, "now").mockReturnValue(Date.now() + 60_000);
    const provoke = PROVOCATIONS[code as keyof typeof PROVOCATIONS];
    const answer = await send({ ...attempt, ...(await provoke(attempt, operation)) }, operation);
    const problem = v.parse(Problem, await answer.json());
    expect([problem.type, answer.status]).toEqual([`/problems/${code}`, ERRORS[code].status]);
    expect(answer.headers.get("Content-Type")).toBe("application/problem+json");
  });

  it.each(RESULT_ERRORS)("documents the result of one message of a batch: %s", async (code) => {
    vi.spyOn(console, "error").mockImplementation(() => {});
    const operation = OPERATIONS.find(({ id }) => id === "publishMany");
    if (!operation) throw new Error("there is no such operation");
    const attempt = await taken(operation);
    const passing = [true, false];
    // What refuses a whole batch otherwise, here concerns one of its channels.
    const ofOne: Partial<Record<ErrorCode, Provocation>> = {
      "invalid-field": () => ({
        body: [{ channel: attempt.channel, message: 1, sender: { database: "never-set", id: 1 } }],
      }),
      "rate-limited": ({ headers }) => ({
        headers: without("Authorization", headers),
        bindings: { RATE_LIMITER: { limit: () => Promise.resolve({ success: passing.shift() }) } },
      }),
      internal: () => ({ bindings: { CHANNELS: failing(new Error("a mistake of ours")) } }),
    };
    const provoke = ofOne[code] ?? PROVOCATIONS[code as keyof typeof PROVOCATIONS];
    const changed = { ...attempt, ...(await provoke(attempt, operation)) };
    const headers = { "Content-Type": "application/json", ...changed.headers };
    const answer = await send({ ...changed, headers }, operation);
    const { results } = await answer.json<{ results: unknown[] }>();
    expect([answer.status, results]).toMatchObject([200, [{ type: `/problems/${code}` }]]);
  });
});

describe("each error that a socket may receive", () => {
  type Talk = () => Promise<TestSocket>;

  /** Opens a socket and says something, or some things. */
  const saying =
    (...said: (object | string | ArrayBuffer)[]): Talk =>
    async () => {
      const socket = await connect(await newOpenChannel());
      for (const frame of said) socket.send(frame);
      return socket;
    };

  const multiplexed = async (headers: Record<string, string> = {}, bindings = {}): Promise<TestSocket> => {
    const all = { Upgrade: "websocket", "CF-Connecting-IP": crypto.randomUUID(), ...headers };
    const answer = await app.request("https://channels.test/rt/any", { headers: all }, { ...env, ...bindings });
    if (!answer.webSocket) throw new Error(await answer.text());
    const socket = new TestSocket(answer.webSocket);
    answer.webSocket.accept();
    return socket;
  };
  const joinOf = (channel: string) => ({ action: "join", options: { channel } });

  const TALKS: Record<(typeof frames.FRAME_ERRORS)[number], Talk> = {
    "invalid-json": saying("{"),
    "invalid-field": saying({ action: "jump" }),
    "invalid-number": saying('{"action":"message","payload":1e999}'),
    "too-deep": saying("[".repeat(MAX_JSON_DEPTH + 2) + "]".repeat(MAX_JSON_DEPTH + 2)),
    "too-large": saying({ action: "message", payload: "x".repeat(MAX_BODY_BYTES) }),
    "not-text": saying(new ArrayBuffer(8)),
    unauthorized: saying({ action: "message", options: { authenticated: true }, payload: 1 }),
    forbidden: saying({ action: "message", options: { socketId: "x" }, payload: 1 }),
    "rate-limited": async () => {
      vi.spyOn(Date, "now").mockReturnValue(Date.now());
      return saying(...Array.from({ length: FRAMES_AT_ONCE + 1 }, () => ({ action: "leave" })))();
    },
    "quota-exceeded": async () => {
      const socket = await connect(await newOpenChannel({ anonymous_bytes_per_day: 0 }));
      socket.send({ action: "message", payload: 1 });
      return socket;
    },
    "unknown-recipient": async () => {
      const socket = await connect(await newOpenChannel({ private_messaging: { active: true } }));
      socket.send({ action: "message", options: { socketId: "nobody's" }, payload: 1 });
      return socket;
    },
    "not-joined": async () => {
      const socket = await multiplexed();
      socket.send({ action: "history", options: { channel: newChannel() } });
      return socket;
    },
    "too-many-channels": async () => {
      const socket = await multiplexed({ Authorization: `Bearer ${API_KEY}` });
      for (let n = 0; n < MAX_CHANNELS_PER_SOCKET; n++) socket.send(joinOf(newChannel()));
      await socket.frames(MAX_CHANNELS_PER_SOCKET);
      // So many frames may come at once; one more has to wait.
      vi.spyOn(Date, "now").mockReturnValue(Date.now() + 60_000);
      socket.send(joinOf(newChannel()));
      return socket;
    },
    "too-many-sockets": async () => {
      const database = await newDatabase();
      const channel = await newOpenChannel({ database });
      const token = await tokenOf(database, 1);
      for (let n = 0; n < MAX_SOCKETS_PER_USER; n++) await join(channel, {}, {}, token);
      const socket = await multiplexed({ "Sec-WebSocket-Protocol": token });
      socket.send(joinOf(channel));
      return socket;
    },
    "key-reused": saying(
      { action: "message", options: { id: "k" }, payload: 1 },
      { action: "message", options: { id: "k" }, payload: 2 },
    ),
    "keys-full": async () => {
      const channel = await newOpenChannel();
      await fillKeys(channel);
      const socket = await connect(channel);
      socket.send({ action: "message", options: { id: "k" }, payload: 1 });
      return socket;
    },
    "backlog-full": async () => {
      const channel = await newOpenChannel();
      await fill(channel);
      const socket = await connect(channel);
      socket.send({ action: "message", payload: "one too many" });
      return socket;
    },
    unavailable: async () => {
      const CHANNELS = failing(Object.assign(new Error("reset"), { retryable: true }));
      const socket = await multiplexed({}, { CHANNELS });
      socket.send(joinOf(await newOpenChannel()));
      return socket;
    },
    internal: async () => {
      const socket = await multiplexed({}, { CHANNELS: failing(new Error("a mistake of ours")) });
      socket.send(joinOf(await newOpenChannel()));
      return socket;
    },
  };

  it.each(frames.FRAME_ERRORS)("is sent as asyncapi.json documents it: %s", async (code) => {
    vi.spyOn(console, "error").mockImplementation(() => {});
    const socket = await TALKS[code]();
    for (;;) {
      const frame = await socket.frame();
      if (frame.action !== "error") continue;
      expect(v.parse(frames.ErrorFrame, frame).payload.code).toBe(code);
      return;
    }
  });
});
