import { connect, createServer, type Server, type Socket } from "node:net";
import type { AddressInfo } from "node:net";

/** A way to a server that a test can break. It carries bytes, and so HTTP and WebSockets alike. */
export class Way {
  readonly #sockets = new Set<Socket>();
  readonly #target: URL;
  readonly #server: Server;
  #open = true;
  #deafTo: "answers" | "requests" | undefined;

  private constructor(target: string) {
    this.#target = new URL(target);
    this.#server = createServer((from) => this.#carry(from));
  }

  static async to(target: string): Promise<Way> {
    const way = new Way(target);
    await new Promise<void>((resolve) => way.#server.listen(0, "127.0.0.1", resolve));
    return way;
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

  close(): void {
    this.block();
    this.#server.close();
  }

  #carry(from: Socket): void {
    if (!this.#open) return void from.destroy();
    const to = connect(Number(this.#target.port), this.#target.hostname);
    this.#join(from, to, "requests");
    this.#join(to, from, "answers");
  }

  #join(from: Socket, to: Socket, what: "answers" | "requests"): void {
    this.#sockets.add(from);
    from.on("data", (bytes) => this.#deafTo === what || to.write(bytes));
    from.on("error", () => {});
    from.on("close", () => {
      this.#sockets.delete(from);
      to.destroy();
    });
  }
}
