import { createRequire } from "node:module";
import type { XanoClient } from "@xano/js-sdk";

/** An action, as the Xano client passes it to its handlers. */
export interface Action {
  action: string;
  client?: { socketId: string; permissions: { dbo_id: number; row_id: number } };
  options?: { channel?: string; seq?: number; socketId?: string };
  // Each test knows the type of its own payloads.
  // oxlint-disable-next-line typescript/no-explicit-any
  payload: any;
}

type Sdk = typeof import("@xano/js-sdk");

const require = createRequire(import.meta.url);

/**
 * Xano's own client, unmodified, as one user of its own: its module keeps one connection for all, so each gets a fresh
 * copy of it. It always opens wss: on the host's standard port; only the global WebSocket is replaced, by one that puts
 * the test server's address in that place.
 */
export function newXanoClient(server: string, config: object = {}): XanoClient {
  for (const path of Object.keys(require.cache)) if (path.includes("@xano/js-sdk")) delete require.cache[path];
  const sdk = require("@xano/js-sdk") as Sdk;
  Rewriting.server = server;
  globalThis.WebSocket = Rewriting;
  return new sdk.XanoClient({
    instanceBaseUrl: "https://xano.test",
    realtimeConnectionCanonical: "1lK90n16tnnylJpJ0Xa7Km6_KxA",
    storage: new sdk.XanoObjectStorage(),
    ...config,
  });
}

class Rewriting extends WebSocket {
  static server = "";

  constructor(address: string | URL, protocols?: string | string[]) {
    const { pathname } = new URL(address);
    super(`${Rewriting.server.replace(/^http/, "ws")}${pathname}`, protocols);
  }
}
