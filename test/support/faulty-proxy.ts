import { connect, createServer, type Server, type Socket } from "node:net";
import type { AddressInfo } from "node:net";

/** Decides by a request's path, as it was sent, whether the request goes on; otherwise its connection ends. */
type Examine = (path: string) => boolean | Promise<boolean>;

/** A way to a server that a test can break. It carries bytes, and so HTTP and WebSockets alike. */
export class FaultyProxy {
  readonly #sockets = new Set<Socket>();
  readonly #target: URL;
  readonly #server: Server;
  #open = true;
  /** What waits while the network is held, in order; undefined while it is not. */
  #held: (() => void)[] | undefined;
  /** Connections that carry nothing any more, though nobody closed them. */
  readonly #silent = new WeakSet<Socket>();
  #deafTo: "answers" | "requests" | undefined;
  #examine: Examine = () => true;

  private constructor(target: string) {
    this.#target = new URL(target);
    this.#server = createServer((from) => this.#carry(from));
  }

  static async to(target: string): Promise<FaultyProxy> {
    const proxy = new FaultyProxy(target);
    await new Promise<void>((resolve) => proxy.#server.listen(0, "127.0.0.1", resolve));
    return proxy;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** Ends every connection, and every new one at once, until it is opened again. */
  block(): void {
    this.#open = false;
    this.cut();
  }

  open(): void {
    this.#open = true;
  }

  /** Ends every connection; new ones are carried, and whole. */
  cut(): void {
    this.#deafTo = undefined;
    for (const socket of this.#sockets) socket.destroy();
  }

  /** Carries from now on only one direction, until it is cut. */
  lose(what: "answers" | "requests"): void {
    this.#deafTo = what;
  }

  /** Carries nothing until it is released: like a network that is gone for a moment, after which TCP sends what waited. */
  hold(): void {
    this.#held ??= [];
  }

  /** Carries what waited, then all that follows. */
  release(): void {
    const held = this.#held ?? [];
    this.#held = undefined;
    for (const carry of held) carry();
  }

  /** Lets the connections so far be silent for good, without closing them; new ones are carried. */
  abandon(): void {
    for (const socket of this.#sockets) this.#silent.add(socket);
    this.#held = undefined;
  }

  /** Examines every request from now on. */
  examine(examine: Examine): void {
    this.#examine = examine;
  }

  close(): void {
    this.block();
    this.#server.close();
  }

  #carry(from: Socket): void {
    if (!this.#open) return void from.destroy();
    const to = connect(Number(this.#target.port), this.#target.hostname);
    let examined = Promise.resolve(true);
    this.#join(from, to, "requests", async (bytes) => {
      const path = /^[A-Z]+ (\S+) HTTP\/1/.exec(bytes.toString("latin1"))?.[1];
      // A chunk that begins no request belongs to the one before it.
      if (path !== undefined) examined = examined.then(() => this.#examine(path));
      if (await examined) to.write(bytes);
      else from.destroy();
    });
    this.#join(to, from, "answers", (bytes) => from.write(bytes));
  }

  #join(from: Socket, to: Socket, what: "answers" | "requests", carry: (bytes: Buffer) => unknown): void {
    this.#sockets.add(from);
    from.on("data", (bytes: Buffer) => {
      if (this.#deafTo === what || this.#silent.has(from)) return;
      if (this.#held) this.#held.push(() => void carry(bytes));
      else carry(bytes);
    });
    from.on("error", () => {});
    from.on("close", () => {
      this.#sockets.delete(from);
      to.destroy();
    });
  }
}
