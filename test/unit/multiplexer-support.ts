import { vi } from "vitest";
import { ADDRESS_HEADER, SOCKET_ID_HEADER } from "../../src/channel/channel-object.ts";
import { IDENTITY_HEADER } from "../../src/channel/identity-header.ts";
import type { OpenChannel } from "../../src/adapters/xano/link.ts";
import { Multiplexer } from "../../src/adapters/xano/multiplexer.ts";
import { refuse } from "../../src/protocol/errors.ts";
import { stubOf, TestSocket } from "./support.ts";

/** Returns the client's end of a multiplexed connection. `open` opens its channels. */
export function multiplexed(open: OpenChannel, options = { isBatch: false, isServer: false }): TestSocket {
  const { 0: near, 1: far } = new WebSocketPair();
  const client = new TestSocket(near);
  near.accept();
  new Multiplexer(far, open, options).serve();
  return client;
}

/** Returns a connection and the channels' ends of its real sockets, which the test controls. */
export function connection() {
  const objects: TestSocket[] = [];
  const state = { reachable: true };
  const client = multiplexed(async () => {
    if (!state.reachable) return refuse("unavailable", "on purpose");
    const { 0: here, 1: there } = new WebSocketPair();
    objects.push(new TestSocket(there));
    there.accept();
    return { ok: true, value: here };
  });
  const object = (number: number) => vi.waitUntil(() => objects[number - 1], { timeout: 30_000, interval: 5 });
  return { client, object, objects, state };
}

/** Opens a socket to a channel object, as the Worker does for an anonymous client. */
export async function openObject(channel: string): Promise<WebSocket> {
  const headers = {
    Upgrade: "websocket",
    [IDENTITY_HEADER]: encodeURIComponent(JSON.stringify({ kind: "anonymous" })),
    [SOCKET_ID_HEADER]: crypto.randomUUID(),
    [ADDRESS_HEADER]: crypto.randomUUID(),
  };
  const { webSocket } = await stubOf(channel).fetch("https://channels.test/", { headers });
  if (!webSocket) throw new Error("the object took no socket");
  return webSocket;
}
