import { runInDurableObject } from "cloudflare:test";
import type { Channel } from "../../../src/index.ts";
import type { Clock } from "./clock.ts";

interface State {
  acceptWebSocket: (this: DurableObjectState, socket: WebSocket, tags?: string[]) => void;
  getWebSocketAutoResponseTimestamp: (this: DurableObjectState, socket: WebSocket) => Date | null;
}

/** Breaks sockets at a certain frame, and converts the times of heartbeats to the simulated clock. */
export class SocketFaults {
  readonly #clock: Clock;
  /** After how many frames the next sockets break, by channel. */
  readonly #breaks = new Map<string, number[]>();
  #uninstall = () => {};
  #isOver = false;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** @param stub Any channel object. All of them share the methods that are replaced. */
  async install(stub: DurableObjectStub<Channel>): Promise<void> {
    const state = await runInDurableObject(stub, (_, own) => Object.getPrototypeOf(own) as State);
    const { acceptWebSocket, getWebSocketAutoResponseTimestamp } = state;
    const accepted = (channel: string | undefined, socket: WebSocket) => this.#accepted(channel, socket);
    const simulated = (time: Date | null) => time && new Date(this.#clock.simulated(time.getTime()));
    state.acceptWebSocket = function (socket, tags = []) {
      acceptWebSocket.call(this, socket, tags);
      accepted(this.id.name, socket);
    };
    state.getWebSocketAutoResponseTimestamp = function (socket) {
      return simulated(getWebSocketAutoResponseTimestamp.call(this, socket));
    };
    this.#uninstall = () => Object.assign(state, { acceptWebSocket, getWebSocketAutoResponseTimestamp });
  }

  /** Stops breaking sockets. */
  heal(): void {
    this.#isOver = true;
  }

  uninstall(): void {
    this.heal();
    this.#uninstall();
  }

  /** Breaks a client's socket to a channel after so many frames, and those that are opened next there. */
  async break(stub: DurableObjectStub<Channel>, channel: string, socketId: string, after: number[]): Promise<void> {
    const [first = 0, ...more] = after;
    this.breakNext(channel, more);
    await runInDurableObject(stub, (_, state) => {
      for (const socket of state.getWebSockets(`id:${socketId}`)) this.#breakAfter(socket, first);
    });
  }

  /** Breaks the sockets that are opened next at a channel's object, each after so many frames. */
  breakNext(channel: string, after: number[]): void {
    this.#breaks.set(channel, [...after]);
  }

  #accepted(channel: string | undefined, socket: WebSocket): void {
    const after = this.#breaks.get(channel ?? "")?.shift();
    if (after !== undefined) this.#breakAfter(socket, after);
  }

  /** Frames after the break are lost. As with a real network, the object notices the break later. */
  #breakAfter(socket: WebSocket, frames: number): void {
    const send = socket.send.bind(socket);
    let left = frames;
    let isBroken = false;
    socket.send = (data) => {
      if (isBroken) return;
      left -= 1;
      if (this.#isOver || left >= 0) return send(data);
      isBroken = true;
      socket.close(1011, "simulated break");
    };
  }
}
