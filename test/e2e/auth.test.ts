import type { RequestListener } from "node:http";
import { exportJWK, generateKeyPair, SignJWT } from "jose";
import { describe, expect, it } from "vitest";
import { WebSocket } from "ws";
import { Inbox } from "../support/frames.ts";
import { serve } from "../support/serve.ts";
import { call, newChannel, target, tokenFor } from "./support.ts";

describe("a private channel on a new server (docs/guides/authentication.md)", () => {
  it("needs a database, settings and a token, and does not admit anonymous clients", async () => {
    const { token, channel } = await tokenFor(target(), newChannel(), 42, { name: "Carol" });
    const bearer = { ...target(), apiKey: token };
    expect((await call(bearer, "POST", "/message", { channel, message: "Carol here" })).status).toBe(201);
    const path = `/channels/${encodeURIComponent(channel)}`;
    const page = (await (await call(bearer, "GET", `${path}/messages`)).json()) as { messages: object[] };
    expect(page.messages).toMatchObject([
      { client: { permissions: { row_id: 42 }, extras: { name: "Carol" } }, payload: "Carol here" },
    ]);
    expect((await fetch(`${target().url}${path}/messages`)).status).toBe(401);
  });

  it("opens the socket by subprotocol, and refuses a page of another origin before anything else", async () => {
    const { token, channel } = await tokenFor(target(), newChannel(), 7);
    const address = `${target().url.replace(/^http/, "ws")}/channels/${encodeURIComponent(channel)}/socket`;
    const socket = new WebSocket(address, [token]);
    const inbox = new Inbox(socket as unknown as EventTarget);
    await new Promise((resolve, reject) => socket.once("open", resolve).once("error", reject));
    socket.send('{"action":"join"}');
    expect((await inbox.frame()).client?.permissions.row_id).toBe(7);
    socket.close();

    const foreign = new WebSocket(address, [token], { origin: "https://evil.example" });
    const status = await new Promise((resolve) =>
      foreign.once("unexpected-response", (_, { statusCode }) => resolve(statusCode)),
    );
    expect(status).toBe(403);
  });
});

/** A channel for the users of an issuer only, and how one of them asks for its history. */
async function membersOf(jwks_url: string): Promise<(token: string) => Promise<Response>> {
  const [database, channel] = [`e2e-${crypto.randomUUID()}`, newChannel()];
  const dbo_id = Math.floor(Math.random() * 2 ** 40) + 1;
  expect((await call(target(), "PUT", `/databases/${database}`, { dbo_id, jwks_url, algorithm: "ES256" })).status).toBe(
    200,
  );
  const path = `/channels/${encodeURIComponent(channel)}`;
  expect((await call(target(), "PUT", path, { database, message_history: 25 })).status).toBe(200);
  return (token) => call({ ...target(), apiKey: token }, "GET", `${path}/messages`);
}

// A deployment cannot reach an issuer on this machine.
describe.runIf(target().url.startsWith("http://127.0.0.1"))("an issuer's key set, fetched over HTTP", () => {
  it("verifies tokens, is fetched once for many of them, and refuses an unknown key", async () => {
    const { publicKey, privateKey } = await generateKeyPair("ES256", { extractable: true });
    const keys = [{ ...(await exportJWK(publicKey)), kid: "first", alg: "ES256" }];
    let fetched = 0;
    const address = await serve((_, response) => {
      fetched += 1;
      response.setHeader("Content-Type", "application/json").end(JSON.stringify({ keys }));
    });
    const ask = await membersOf(address);
    const token = (kid: string) =>
      new SignJWT({ sub: "42" }).setProtectedHeader({ alg: "ES256", kid }).setExpirationTime("1m").sign(privateKey);
    for (let n = 0; n < 5; n++) expect((await ask(await token("first"))).status).toBe(200);
    for (let n = 0; n < 5; n++) expect((await ask(await token("unknown"))).status).toBe(401);
    expect(fetched).toBe(1);
  });

  it.each<[string, RequestListener]>([
    ["does not come", () => {}],
    ["is an error", (_, response) => response.writeHead(500).end()],
    ["is no key set", (_, response) => response.end("<html>")],
    ["is cut off", (_, response) => response.destroy()],
  ])("causes a 503 within limited time if it %s", async (_, listener) => {
    const { privateKey } = await generateKeyPair("ES256", { extractable: true });
    const ask = await membersOf(await serve(listener));
    const token = await new SignJWT({ sub: "1" })
      .setProtectedHeader({ alg: "ES256", kid: "a" })
      .setExpirationTime("1m")
      .sign(privateKey);
    const answer = await ask(token);
    expect([answer.status, answer.headers.get("Retry-After")]).toEqual([503, "5"]);
  });
});
