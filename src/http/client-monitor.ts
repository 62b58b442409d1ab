import { HEARTBEAT_TIMEOUT, MAX_UNCONFIRMED, type Verdict } from "../channel/backpressure.ts";
import { utf8Length } from "../protocol/utf8.ts";

/**
 * Text that answers joins and isn't counted as unread, per connection, in bytes. The objects send it at once, before the
 * client could confirm any of it: without this allowance a client that joins many channels would be closed as slow, come
 * back, and be closed again.
 */
export const MAX_CATCH_UP_BYTES = 32 * 1024 * 1024;

/**
 * Decides whether the client of a multiplexed connection still reads (CON7). The rules are those of `Backpressure`,
 * which learns of a channel socket's heartbeats by polling. A multiplexed connection receives each heartbeat itself, so
 * its count is exact.
 */
export class ClientMonitor {
  #sentBytes = 0;
  #sentBytesAtHeartbeat = 0;
  #confirmedBytes = 0;
  #catchUpBytes = 0;
  #usesHeartbeats = false;
  /** When the client last sent anything, in milliseconds since the epoch. */
  #heardAt: number;

  /** @param now In milliseconds since the epoch. */
  constructor(now: number) {
    this.#heardAt = now;
  }

  /** Counts text sent to the client. */
  sent(text: string, isCatchUp = false): void {
    const bytes = utf8Length(text);
    if (isCatchUp && this.#catchUpBytes + bytes <= MAX_CATCH_UP_BYTES) this.#catchUpBytes += bytes;
    else this.#sentBytes += bytes;
  }

  /** Notes that the client sent a frame of any kind. It is alive, but the frame doesn't say how far it has read. */
  heard(now: number): void {
    this.#heardAt = now;
  }

  /** Notes a heartbeat. It confirms what was sent before the answer to the previous heartbeat (CON3). */
  heartbeat(): void {
    this.#usesHeartbeats = true;
    this.#confirmedBytes = this.#sentBytesAtHeartbeat;
    this.#sentBytesAtHeartbeat = this.#sentBytes;
  }

  /** Returns why the client must be closed, or undefined. */
  verdict(now: number): Verdict | undefined {
    if (this.#sentBytes - this.#confirmedBytes > MAX_UNCONFIRMED) return "slow";
    return this.#usesHeartbeats && now - this.#heardAt > HEARTBEAT_TIMEOUT ? "gone" : undefined;
  }
}
