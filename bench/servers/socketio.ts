/** socket.io on Node: one room per channel, and the same SQLite storage as the `ws` peer. */
import { createServer } from "node:http";
import { Server } from "socket.io";
import { publisher, Store } from "./store.ts";

const publish = publisher(new Store(), (channel, seq, time, message) => {
  const options = { channel, seq, time: new Date(time).toISOString() };
  io.to(channel).emit("event", { action: "event", options, payload: message });
});

const server = createServer();
const io = new Server(server, { transports: ["websocket"], perMessageDeflate: false });
io.on("connection", (socket) => void socket.join(String(socket.handshake.query["channel"])));
// socket.io has registered its own handler first, which answers its own requests.
server.on("request", (request, response) => {
  if (request.method === "POST" && request.url === "/message") void publish(request, response);
});
server.listen(Number(process.argv[2]), "127.0.0.1", () => console.log("ready"));
