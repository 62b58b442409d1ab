import { env } from "cloudflare:workers";
import { describe, expect, it } from "vitest";
import { app } from "../../src/http/app.ts";
import { type ErrorCode, ERRORS } from "../../src/protocol/errors.ts";
import { MAX_BODY_BYTES, MAX_CHANNEL_NAME_LENGTH, MAX_JSON_DEPTH } from "../../src/protocol/limits.ts";
import { API_KEY, call, connect, history, join, newChannel, newOpenChannel, publish, request } from "./support.ts";

function post(body: BodyInit, headers: Record<string, string> = {}): Promise<Response> {
  const all = { "Content-Type": "application/json", Authorization: `Bearer ${API_KEY}`, ...headers };
  return request("/message", { method: "POST", headers: all, body });
}

async function expectProblem(answer: Response, code: ErrorCode, more: object = {}): Promise<void> {
  const { status, title } = ERRORS[code];
  expect(answer.headers.get("Content-Type")).toBe("application/problem+json");
  expect(await answer.json()).toMatchObject({
    type: `/problems/${code}`,
    title,
    status,
    detail: expect.any(String),
    ...more,
  });
  expect(answer.status).toBe(status);
}

describe("a body that is wrong (ERR1, ERR3)", () => {
  const deep = (levels: number) => `{"channel":"x","message":${"[".repeat(levels - 1)}${"]".repeat(levels - 1)}}`;
  const sized = (bytes: number) => {
    const empty = JSON.stringify({ channel: "sized", message: "" });
    return JSON.stringify({ channel: "sized", message: "x".repeat(bytes - empty.length) });
  };

  it.each<[string, BodyInit, ErrorCode, object]>([
    ["empty", "", "invalid-json", {}],
    ["malformed", '{"channel":"x",', "invalid-json", {}],
    ["followed by more", "{}{}", "invalid-json", {}],
    ["not UTF-8", new Uint8Array([0x22, 0xff, 0x22]), "invalid-json", {}],
    ["an array", "[]", "invalid-field", { field: "body", detail: "body must be an object." }],
    ["without a channel", '{"message":1}', "invalid-field", { field: "channel" }],
    ["without a message", '{"channel":"x"}', "invalid-field", { field: "message" }],
    ["with an unknown field", '{"channel":"x","message":1,"mesage":2}', "invalid-field", { field: "mesage" }],
    ["with a channel that is no text", '{"channel":5,"message":1}', "invalid-field", { field: "channel" }],
    ["with a number that does not fit", '{"channel":"x","message":[1e999]}', "invalid-number", {}],
    ["nested too deeply", deep(MAX_JSON_DEPTH + 1), "too-deep", { limit: MAX_JSON_DEPTH }],
    ["nested beyond any stack", deep(30_000), "too-deep", { limit: MAX_JSON_DEPTH }],
    ["too large", sized(MAX_BODY_BYTES + 1), "too-large", { limit: MAX_BODY_BYTES }],
    ["far too large", sized(10 * MAX_BODY_BYTES), "too-large", { limit: MAX_BODY_BYTES }],
  ])("is refused: %s", async (_, body, code, more) => {
    await expectProblem(await post(body), code, more);
  });

  it("is refused though its length was not told beforehand (LIM1)", async () => {
    const bytes = new TextEncoder().encode(sized(MAX_BODY_BYTES + 1));
    await expectProblem(await post(new Blob([bytes]).stream()), "too-large", { limit: MAX_BODY_BYTES });
  });

  it("is taken up to the limits themselves (LIM1, LIM2)", async () => {
    expect((await post(sized(MAX_BODY_BYTES))).status).toBe(201);
    expect((await post(deep(MAX_JSON_DEPTH))).status).toBe(201);
  });

  it.each(["text/plain", "application/x-www-form-urlencoded", "application/jsonp", "multipart/form-data", ""])(
    "is refused as %o (PUB5)",
    async (type) => {
      await expectProblem(
        await post('{"channel":"x","message":1}', { "Content-Type": type }),
        "unsupported-media-type",
        {
          field: "Content-Type",
        },
      );
    },
  );

  it.each(["application/json; charset=utf-8", "APPLICATION/JSON", "application/vnd.api+json"])(
    "is taken as %s",
    async (type) => {
      expect((await post('{"channel":"x","message":1}', { "Content-Type": type })).status).toBe(201);
    },
  );

  it("leaves everything as it was: nothing stored, no number used, no socket told", async () => {
    const channel = await newOpenChannel();
    const subscriber = await join(channel);
    for (const body of ["{", `{"channel":"${channel}"}`, `{"channel":"${channel}","message":1e999}`]) await post(body);
    await publish(channel, "fine");
    expect(await subscriber.frame()).toMatchObject({ options: { seq: 1 }, payload: "fine" });
    expect((await history(channel)).messages).toHaveLength(1);
  });
});

describe("a channel's name (CHA1)", () => {
  const longest = "x".repeat(MAX_CHANNEL_NAME_LENGTH);
  it.each(["a", "marvel_chat_room", "room/42", "a/b/c", "user:7@example.com+tag", "...", "a..b", "~", longest])(
    "may be %s, in a body and in a path (CHA2)",
    async (name) => {
      const { seq } = await publish(name, 1);
      expect(await history(name, `?after=${seq - 1}`)).toMatchObject({ channel: name, seq });
    },
  );

  it.each([
    ["", undefined],
    [`${longest}x`, MAX_CHANNEL_NAME_LENGTH],
    ["/", undefined],
    ["a//b", undefined],
    ["/a", undefined],
    ["a/", undefined],
    [".", undefined],
    ["a/../b", undefined],
    ["a/.", undefined],
    ["a b", undefined],
    ["a\u0000", undefined],
    ["ä", undefined],
    ["room/*", undefined],
    ["a%2Fb", undefined],
    ["<script>", undefined],
    ["a\n", undefined],
    ["'; DROP TABLE messages; --", undefined],
  ])("may not be %j", async (name, limit) => {
    const expected = { field: "channel", ...(limit !== undefined && { limit }) };
    await expectProblem(await post(JSON.stringify({ channel: name, message: 1 })), "invalid-field", expected);
    if (name === "" || name === ".") return; // A URL has no such segment: it never gets here.
    for (const door of ["messages", "socket"]) {
      await expectProblem(
        await call("GET", `/channels/${encodeURIComponent(name)}/${door}`),
        "invalid-field",
        expected,
      );
    }
  });

  it("may not be broken percent-encoding", async () => {
    await expectProblem(await call("GET", "/channels/%E0%A4%A/messages"), "invalid-field", { field: "channel" });
  });
});

describe("credentials (AUT1)", () => {
  it.each(["first-key-of-the-tests", "second-key-of-the-tests"])("are any of the API keys: %s", async (key) => {
    expect((await call("POST", "/message", { channel: "x", message: 1 }, key)).status).toBe(201);
  });

  it.each([
    "Bearer wrong",
    "Bearer",
    "Bearer ",
    "Bearer first-key-of-the-tests,second-key-of-the-tests",
    "Basic first-key-of-the-tests",
    "first-key-of-the-tests",
    "Bearer first-key-of-the-tests x",
  ])("that are wrong are refused, also where a stranger would be let in: %s", async (authorization) => {
    const channel = await newOpenChannel();
    const answer = await post(JSON.stringify({ channel, message: 1 }), { Authorization: authorization });
    expect(answer.headers.get("WWW-Authenticate")).toBe("Bearer");
    await expectProblem(answer, "unauthorized", { field: "Authorization" });
    await expect(connect(channel, { Authorization: authorization })).rejects.toThrow(/^401/);
  });

  it("are needed where the settings do not let a stranger publish (AUT2)", async () => {
    await expectProblem(await call("POST", "/message", { channel: newChannel(), message: 1 }, null), "unauthorized");
    const quiet = await newOpenChannel({ public_messaging: { active: false } });
    await expectProblem(await call("POST", "/message", { channel: quiet, message: 1 }, null), "forbidden");
    const open = await newOpenChannel();
    expect((await call("POST", "/message", { channel: open, message: 1 }, null)).status).toBe(201);
  });
});

describe("a channel's settings (AUT3)", () => {
  const path = (channel: string) => `/channels/${encodeURIComponent(channel)}`;

  it("are set, read and removed", async () => {
    const channel = newChannel();
    await expectProblem(await call("GET", path(channel)), "not-found");
    const settings = {
      anonymous_clients: true,
      message_history: 25,
      public_messaging: { active: true, auth: false },
    };
    const set = await call("PUT", path(channel), {
      anonymous_clients: true,
      message_history: 25,
      public_messaging: { active: true },
    });
    expect([set.status, await set.json()]).toMatchObject([200, { channel, settings }]);
    expect(await (await call("GET", path(channel))).json()).toMatchObject({ channel, settings });
    expect((await call("DELETE", path(channel))).status).toBe(204);
    await expectProblem(await call("GET", path(channel)), "not-found");
    expect((await call("POST", "/message", { channel, message: 1 }, null)).status).toBe(401);
  });

  it("take effect at once", async () => {
    const channel = await newOpenChannel();
    const client = await join(channel);
    await call("PUT", path(channel), { anonymous_clients: true });
    client.send({ action: "message", payload: 1 });
    expect((await client.frame()).payload).toMatchObject({ code: "forbidden" });
    expect((await call("POST", "/message", { channel, message: 1 }, null)).status).toBe(403);
  });

  it.each<[unknown, object]>([
    [{ anonymous_client: true }, { field: "anonymous_client" }],
    [{ anonymous_clients: "yes" }, { field: "anonymous_clients" }],
    [{ message_history: 30 }, { field: "message_history" }],
    [{ public_messaging: true }, { field: "public_messaging" }],
    [{ public_messaging: [] }, { field: "public_messaging", detail: "public_messaging must be an object." }],
    [{ public_messaging: { auht: true } }, { field: "public_messaging.auht" }],
    [[], { field: "body" }],
  ])("that are unknown or not allowed are refused: %j", async (settings, expected) => {
    await expectProblem(await call("PUT", path(newChannel()), settings), "invalid-field", expected);
  });

  it.each(["GET", "PUT", "DELETE"])("are for the server side only: %s", async (method) => {
    const channel = await newOpenChannel();
    await expectProblem(await call(method, path(channel), method === "PUT" ? {} : undefined, null), "unauthorized");
  });

  it("open the demo channel to everyone", async () => {
    const { settings } = await (await call("GET", "/channels/marvel_chat_room")).json<{ settings: object }>();
    expect(settings).toMatchObject({
      active: true,
      anonymous_clients: true,
      presence: true,
      message_history: 100,
      public_messaging: { active: true, auth: false },
      auth_channel: false,
    });
  });
});

describe("an address", () => {
  it("that nothing answers is a problem as well", async () => {
    await expectProblem(await request("/nothing"), "not-found");
    await expectProblem(await request("/messages/1"), "not-found");
    await expectProblem(await call("PUT", `/channels/${newChannel()}/messages/1`), "not-found");
  });

  it.each([
    ["GET", "/message", "POST"],
    ["HEAD", "/messages", "POST"],
    ["OPTIONS", "/message", "POST"],
    ["DELETE", "/channels", "GET, HEAD"],
    ["PATCH", "/channels/x", "GET, HEAD, PUT, DELETE"],
    ["PUT", "/channels/x/messages", "GET, HEAD"],
    ["POST", "/channels/x/socket", "GET, HEAD"],
    ["POST", "/rt/any", "GET, HEAD"],
    ["GET", "/databases/x/tokens", "POST"],
  ])("that knows other methods only names them: %s %s (ERR5)", async (method, path, allowed) => {
    const answer = await request(path, { method });
    expect(answer.headers.get("Allow")).toBe(allowed);
    if (method === "HEAD") expect(answer.status).toBe(405);
    else await expectProblem(answer, "method-not-allowed");
  });

  it.each(["/channels/x/socket", "/rt/any"])("is no socket for HEAD (CON1): %s", async (path) => {
    const headers = { Upgrade: "websocket", Authorization: `Bearer ${API_KEY}` };
    const answer = await app.request(path, { method: "HEAD", headers }, env);
    expect([answer.status, answer.headers.get("Upgrade")]).toEqual([426, "websocket"]);
  });

  it.each(Object.keys(ERRORS))("explains each problem: /problems/%s", async (code) => {
    const { title, status } = ERRORS[code as ErrorCode];
    expect(await (await request(`/problems/${code}`)).json()).toEqual({ type: `/problems/${code}`, title, status });
  });

  it.each(["unknown", "toString", "constructor"])("knows no other problem: %s", async (code) => {
    await expectProblem(await request(`/problems/${code}`), "not-found");
  });
});
