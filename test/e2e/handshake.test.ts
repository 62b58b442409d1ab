import { randomBytes } from "node:crypto";
import { connect } from "node:net";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { startWorkerd } from "../support/workerd.ts";

let server: Awaited<ReturnType<typeof startWorkerd>>;
beforeAll(async () => void (server = await startWorkerd()));
afterAll(() => server.stop());

/** The head of the answer to a handshake that offers these extensions, as it comes off the wire. */
function shakeHands(path: string, extensions: string): Promise<string> {
  return new Promise((resolve, reject) => {
    let answer = "";
    const socket = connect(server.port, "127.0.0.1").on("error", reject);
    socket.on("data", (bytes) => {
      answer += bytes.toString("latin1");
      if (!answer.includes("\r\n\r\n")) return;
      socket.destroy();
      resolve(answer.slice(0, answer.indexOf("\r\n\r\n")));
    });
    socket.write(
      [
        `GET ${path} HTTP/1.1`,
        `Host: 127.0.0.1:${server.port}`,
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        `Sec-WebSocket-Key: ${randomBytes(16).toString("base64")}`,
        `Sec-WebSocket-Extensions: ${extensions}`,
        "\r\n",
      ].join("\r\n"),
    );
  });
}

describe.each([
  ["a channel's socket", "/channels/marvel_chat_room/socket"],
  ["a channel's socket with batches", "/channels/marvel_chat_room/socket?frames=batch"],
  ["a socket for many channels", "/rt/canonical"],
])("%s", (_, path) => {
  it.each([
    "permessage-deflate",
    "permessage-deflate; client_max_window_bits; server_no_context_takeover",
    "x-webkit-deflate-frame, permessage-deflate; client_max_window_bits=15",
  ])("is opened without compression for a client that offers %s (CON9)", async (extensions) => {
    const head = await shakeHands(path, extensions);
    expect(head).toMatch(/^HTTP\/1\.1 101 /);
    expect(head).not.toMatch(/^Sec-WebSocket-Extensions:/im);
  });
});
