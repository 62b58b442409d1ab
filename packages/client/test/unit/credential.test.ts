import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Connection } from "../../src/connection.ts";
import { Credential } from "../../src/credential.ts";
import { Server } from "../../src/server.ts";
import { CLOSE } from "../../../../src/protocol/close.ts";

const SECONDS = 1_000;

beforeEach(() => void vi.useFakeTimers());
afterEach(() => {
  vi.unstubAllGlobals();
  vi.useRealTimers();
});

let issued = 0;
/** Returns a JWT that expires after some seconds. No two are the same. */
function newToken(seconds: number): string {
  const payload = { exp: Math.floor(Date.now() / 1_000) + seconds, jti: `${++issued}`, name: "Zoë ÿ?>" };
  const text = Buffer.from(JSON.stringify(payload)).toString("base64url");
  return `header.${text}.signature`;
}

describe("a token function", () => {
  it("is called once for each token, 30 seconds before it expires", async () => {
    const source = vi.fn(() => newToken(600));
    const credential = new Credential(source);
    const first = await credential.get();
    await vi.advanceTimersByTimeAsync(569 * SECONDS);
    expect(await credential.get()).toBe(first);
    await vi.advanceTimersByTimeAsync(2 * SECONDS);
    expect(await credential.get()).not.toBe(first);
    expect(source).toHaveBeenCalledTimes(2);
  });

  it("is called ahead while a connection uses the token, and no longer once all are closed", async () => {
    const source = vi.fn(() => newToken(600));
    const credential = new Credential(source);
    const ends = [credential.use(), credential.use()];
    await credential.get();
    await vi.advanceTimersByTimeAsync(571 * SECONDS);
    expect(source).toHaveBeenCalledTimes(2);
    ends[0]?.();
    await vi.advanceTimersByTimeAsync(571 * SECONDS);
    expect(source).toHaveBeenCalledTimes(3);
    ends[1]?.();
    await vi.advanceTimersByTimeAsync(3_600 * SECONDS);
    expect(source).toHaveBeenCalledTimes(3);
  });

  it("is called once for several requests at the same time, and again after it failed", async () => {
    const answers = [Promise.withResolvers<string>(), Promise.withResolvers<string>()];
    const source = vi.fn(() => answers[source.mock.calls.length - 1]?.promise ?? "");
    const credential = new Credential(source);
    const both = Promise.allSettled([credential.get(), credential.get()]);
    answers[0]?.reject(new Error("the issuer is away"));
    expect((await both).map(({ status }) => status)).toEqual(["rejected", "rejected"]);
    expect(source).toHaveBeenCalledTimes(1);
    answers[1]?.resolve("opaque");
    expect(await Promise.all([credential.get(), credential.get()])).toEqual(["opaque", "opaque"]);
    expect(source).toHaveBeenCalledTimes(2);
  });

  it("is called for a token of ten seconds after five, and for one without an expiry only if it is refused", async () => {
    const short = vi.fn(() => newToken(10));
    const credential = new Credential(short);
    await credential.get();
    await vi.advanceTimersByTimeAsync(4 * SECONDS);
    await credential.get();
    expect(short).toHaveBeenCalledTimes(1);
    await vi.advanceTimersByTimeAsync(2 * SECONDS);
    await credential.get();
    expect(short).toHaveBeenCalledTimes(2);
    const opaque = vi.fn(() => "opaque");
    const other = new Credential(opaque);
    await other.get();
    await vi.advanceTimersByTimeAsync(365 * 86_400 * SECONDS);
    await other.get();
    expect(opaque).toHaveBeenCalledTimes(1);
    other.refused("an older one");
    await other.get();
    expect(opaque).toHaveBeenCalledTimes(1);
    other.refused("opaque");
    await other.get();
    expect(opaque).toHaveBeenCalledTimes(2);
  });

  it("is called again if the server answers 401, and the request is repeated once", async () => {
    const tokens = ["old", "new", "newer"];
    const sent: (string | null)[] = [];
    vi.stubGlobal("fetch", async (_: string, init: RequestInit) => {
      const authorization = new Headers(init.headers).get("Authorization");
      sent.push(authorization);
      return authorization === "Bearer new" ? Response.json({ seq: 1 }) : new Response("{}", { status: 401 });
    });
    const server = new Server("https://channels.test", () => tokens.shift() ?? "");
    expect(await server.request("/message")).toEqual({ seq: 1 });
    expect(sent).toEqual(["Bearer old", "Bearer new"]);
    const fixed = new Server("https://channels.test", () => "old");
    await expect(fixed.request("/message")).rejects.toMatchObject({ status: 401 });
    expect(sent.slice(2)).toEqual(["Bearer old"]);
  });
});

describe("a connection whose token expires (AUT7)", () => {
  /** Sockets that open at once, and that the test closes. */
  class FakeSocket extends EventTarget {
    static readonly all: FakeSocket[] = [];
    readyState = 0;
    constructor(
      _: string,
      readonly protocols?: string | string[],
    ) {
      super();
      FakeSocket.all.push(this);
      setTimeout(() => {
        this.readyState = 1;
        this.dispatchEvent(new Event("open"));
      });
    }
    send(): void {
      queueMicrotask(() => this.dispatchEvent(new MessageEvent("message", { data: "pong" })));
    }
    close(code = 1000): void {
      this.readyState = 3;
      this.dispatchEvent(new CloseEvent("close", { code }));
    }
  }

  function connect(token: () => string) {
    FakeSocket.all.length = 0;
    const lost = vi.fn();
    const none = () => {};
    const connection = new Connection({
      server: new Server("https://channels.test", token),
      path: "/",
      WebSocket: FakeSocket,
      opened: none,
      received: none,
      lost,
      silent: none,
      works: none,
    });
    return { connection, lost };
  }

  it("stays open while the token is renewed, and reconnects at once with the new one when the server closes it", async () => {
    const tokens: string[] = [];
    const { connection, lost } = connect(() => {
      tokens.push(newToken(120));
      return tokens.at(-1) ?? "";
    });
    await vi.advanceTimersByTimeAsync(10);
    await vi.advanceTimersByTimeAsync(95 * SECONDS);
    expect([tokens.length, FakeSocket.all.length, lost.mock.calls.length]).toEqual([2, 1, 0]);
    FakeSocket.all[0]?.close(CLOSE.expired);
    await vi.advanceTimersByTimeAsync(10);
    expect(FakeSocket.all.map(({ protocols }) => protocols?.[1])).toEqual(tokens);
    expect(lost.mock.calls).toEqual([[true, false]]);
    connection.close();
  });

  it("waits before it reconnects if the function returns the same token", async () => {
    const token = newToken(3_600);
    const { connection } = connect(() => token);
    await vi.advanceTimersByTimeAsync(10);
    FakeSocket.all[0]?.close(CLOSE.expired);
    await vi.advanceTimersByTimeAsync(200);
    expect(FakeSocket.all.length).toBe(1);
    await vi.advanceTimersByTimeAsync(2 * SECONDS);
    expect(FakeSocket.all.length).toBe(2);
    connection.close();
  });
});
