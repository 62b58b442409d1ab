import { WebSocket } from "ws";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { rawRequest } from "../support/raw.ts";
import { Server } from "../support/server.ts";

// One of its own: a deployed one, which BASE_URL may name, makes no such check.
let server: Server;
beforeAll(async () => void (server = await Server.start()));
afterAll(() => server.remove());

const hostAt = (name: string) => `${name}:${new URL(server.url).port}`;

/** The status of the answer to a handshake, 101 if a socket was opened. */
function upgradeStatus(headers: Record<string, string>): Promise<number | undefined> {
  const socket = new WebSocket(`${server.url.replace("http", "ws")}/channels/marvel_chat_room/socket`, { headers });
  return new Promise((resolve, reject) => {
    socket.once("open", () => resolve(101));
    socket.once("unexpected-response", (_, { statusCode }) => resolve(statusCode));
    socket.once("error", reject);
  }).finally(() => socket.terminate()) as Promise<number | undefined>;
}

describe("npm start, and a page that leads the browser to it by its own DNS (SRV6)", () => {
  it.each(["evil.test", "localhost.evil.test", "127.0.0.1.evil.test"])("answers nothing at %s", async (name) => {
    const Host = hostAt(name);
    const sent = [{ Host }, { Host, Origin: `http://${Host}` }, { Host, Authorization: `Bearer ${server.apiKey}` }];
    for (const headers of sent) {
      const { status, body } = await rawRequest(`${server.url}/channels`, headers);
      expect([status, JSON.parse(body)]).toMatchObject([421, { type: "/problems/wrong-host", field: "Host" }]);
      expect(await upgradeStatus(headers)).toBe(421);
    }
  });

  it.each(["localhost", "127.0.0.1", "[::1]", "192.168.1.7"])("answers at %s, to its own pages", async (name) => {
    const Host = hostAt(name);
    const headers = { Host, Origin: `http://${Host}`, Authorization: `Bearer ${server.apiKey}` };
    expect((await rawRequest(`${server.url}/channels`, headers)).status).toBe(200);
    expect(await upgradeStatus(headers)).toBe(101);
  });

  it("answers pages of its own origin only: another port of this machine is another origin (LIM9)", async () => {
    const headers = { Host: hostAt("localhost"), Origin: "http://localhost:1" };
    expect((await rawRequest(`${server.url}/health`, headers)).status).toBe(403);
  });
});
