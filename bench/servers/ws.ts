/** `ws` on Node: one process, one SQLite file, and a Set of sockets per channel. */
import { createServer } from "node:http";
import { type WebSocket, WebSocketServer } from "ws";
import { publisher, Store } from "./store.ts";

const channels = new Map<string, Set<WebSocket>>();

const publish = publisher(new Store(), (channel, seq, time, message) => {
  const sockets = channels.get(channel);
  if (!sockets) return;
  const options = { channel, seq, time: new Date(time).toISOString() };
  const frame = Buffer.from(JSON.stringify({ action: "event", options, payload: message }));
  for (const socket of sockets) socket.send(frame, { binary: false });
});

const server = createServer((request, response) => void publish(request, response));
new WebSocketServer({ server, perMessageDeflate: false }).on("connection", (socket, request) => {
  const channel = (request.url ?? "").slice(1);
  const sockets = channels.get(channel) ?? new Set();
  channels.set(channel, sockets.add(socket));
  socket.on("close", () => sockets.delete(socket));
});
server.listen(Number(process.argv[2]), "127.0.0.1", () => console.log("ready"));
