import { Pool } from "undici";
import type { Dialect } from "../peers.ts";

/** In the answer to a batch, for each message that was not taken. */
const REFUSED = '"status":503';

/** Sends POSTs over kept connections, as many at once as there are publishers. */
export class Publisher {
  readonly #pool: Pool;
  readonly #dialect: Dialect;

  constructor(port: number, dialect: Dialect, connections: number) {
    this.#pool = new Pool(`http://127.0.0.1:${port}`, { connections, pipelining: 1 });
    this.#dialect = dialect;
  }

  /**
   * Sends messages by one POST, and waits for its answer. Answers how many were taken: a batch may be refused in part,
   * where a backlog has reached its bound.
   */
  async publish(channel: string, messages: string[]): Promise<number> {
    const { path, headers, body } = this.#dialect.publish(channel, messages);
    const answer = await this.#pool.request({ method: "POST", path, headers, body });
    const text = await answer.body.text();
    if (answer.statusCode >= 300) throw new Error(`${path} answered ${answer.statusCode}: ${text}`);
    const refused = text.split(REFUSED).length - 1;
    if (refused > 0) await new Promise((resolve) => setTimeout(resolve, 100));
    return messages.length - refused;
  }

  close(): Promise<void> {
    return this.#pool.destroy();
  }
}
