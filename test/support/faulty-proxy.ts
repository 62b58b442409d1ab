import { connect, createServer, type Server, type Socket } from "node:net";
import type { AddressInfo } from "node:net";

/** Decides by a request's path whether the proxy forwards the request. If not, the proxy closes the connection. */
type Examine = (path: string) => boolean | Promise<boolean>;

/** A TCP proxy to a server, which a test can break. It forwards bytes, so it works for HTTP and WebSockets. */
export class FaultyProxy {
  readonly #sockets = new Set<Socket>();
  readonly #target: URL;
  readonly #server: Server;
  #open = true;
  /** The chunks that wait while the proxy holds the traffic, in order. Undefined while it does not. */
  #held: (() => void)[] | undefined;
  /** Open connections whose bytes are dropped. */
  readonly #silent = new WeakSet<Socket>();
  #dropped: "answers" | "requests" | undefined;
  #examine: Examine = () => true;

  private constructor(target: string) {
    this.#target = new URL(target);
    this.#server = createServer((from) => this.#accept(from));
  }

  static async to(target: string): Promise<FaultyProxy> {
    const proxy = new FaultyProxy(target);
    await new Promise<void>((resolve) => proxy.#server.listen(0, "127.0.0.1", resolve));
    return proxy;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** Closes every connection, and each new one at once, until `open()`. */
  block(): void {
    this.#open = false;
    this.cut();
  }

  open(): void {
    this.#open = true;
  }

  /** Closes every connection. New ones work in both directions. */
  cut(): void {
    this.#dropped = undefined;
    for (const socket of this.#sockets) socket.destroy();
  }

  /** Drops the bytes of one direction, until `cut()`. */
  lose(what: "answers" | "requests"): void {
    this.#dropped = what;
  }

  /** Forwards the bytes of both directions again. */
  find(): void {
    this.#dropped = undefined;
  }

  /** Delays all bytes until `release()`, like a network that is down for a moment. */
  hold(): void {
    this.#held ??= [];
  }

  /** Forwards the delayed bytes, and then new ones. */
  release(): void {
    const held = this.#held ?? [];
    this.#held = undefined;
    for (const forward of held) forward();
  }

  /** Drops all bytes of the current connections without closing them. New connections work. */
  abandon(): void {
    for (const socket of this.#sockets) this.#silent.add(socket);
    this.#held = undefined;
  }

  /** Calls a function with each request from now on, to decide whether to forward it. */
  examine(examine: Examine): void {
    this.#examine = examine;
  }

  close(): void {
    this.block();
    this.#server.close();
  }

  #accept(from: Socket): void {
    if (!this.#open) return void from.destroy();
    const to = connect(Number(this.#target.port), this.#target.hostname);
    let examined = Promise.resolve(true);
    this.#join(from, to, "requests", async (bytes) => {
      const path = /^[A-Z]+ (\S+) HTTP\/1/.exec(bytes.toString("latin1"))?.[1];
      // A chunk that does not begin a request belongs to the previous request.
      if (path !== undefined) examined = examined.then(() => this.#examine(path));
      if (await examined) to.write(bytes);
      else from.destroy();
    });
    this.#join(to, from, "answers", (bytes) => from.write(bytes));
  }

  #join(from: Socket, to: Socket, what: "answers" | "requests", forward: (bytes: Buffer) => unknown): void {
    this.#sockets.add(from);
    from.on("data", (bytes: Buffer) => {
      if (this.#dropped === what || this.#silent.has(from)) return;
      if (this.#held) this.#held.push(() => void forward(bytes));
      else forward(bytes);
    });
    from.on("error", () => {});
    from.on("close", () => {
      this.#sockets.delete(from);
      to.destroy();
    });
  }
}
