import { Pool } from "undici";
import type { Dialect } from "../peers.ts";

/** The answer to a batch contains this text for each refused message. */
const REFUSED = '"status":503';

/** Publishes over persistent HTTP connections, one per publisher. */
export class Publisher {
  readonly #pool: Pool;
  readonly #dialect: Dialect;

  constructor(port: number, dialect: Dialect, connections: number) {
    this.#pool = new Pool(`http://127.0.0.1:${port}`, { connections, pipelining: 1 });
    this.#dialect = dialect;
  }

  /**
   * Publishes messages in one request and waits for the answer. Returns how many messages the server accepted: it refuses a
   * part of a batch when the backlog has reached its limit.
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
