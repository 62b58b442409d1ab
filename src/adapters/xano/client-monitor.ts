import { HEARTBEAT_TIMEOUT_MS, MAX_UNCONFIRMED_CHARACTERS, type Verdict } from "../../channel/backpressure.ts";
import { utf8Length } from "../../protocol/utf8.ts";

/**
 * Text that answers joins and isn't counted as unread, per connection, in bytes. The objects send it at once, before the
 * client could confirm any of it: without this allowance a client that joins many channels would be closed as slow, come
 * back, and be closed again.
 */
export const MAX_CATCH_UP_BYTES = 32 * 1024 * 1024;

/** Unconfirmed text after which a client that sends no heartbeats is asked to confirm: half of the bound, in bytes. */
export const PROBE_AFTER_BYTES = MAX_UNCONFIRMED_CHARACTERS / 2;
/** How much more text is sent before another channel is tried, in bytes. */
const PROBE_EVERY_BYTES = 1024 * 1024;

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
  /** How much had been sent before each probe that is not answered, by its channel. */
  readonly #probes = new Map<string, number>();
  #sentBytesAtProbe = 0;
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

  /**
   * Returns whether to send a probe for this channel, and expects its answer from then on. A probe is a frame that Xano's
   * client answers with a `join`, as it sends no heartbeats. Only channels that the client has joined may be given.
   */
  startProbe(channel: string): boolean {
    if (this.#usesHeartbeats || this.#probes.has(channel)) return false;
    if (this.#sentBytes - this.#confirmedBytes < PROBE_AFTER_BYTES) return false;
    if (this.#probes.size > 0 && this.#sentBytes - this.#sentBytesAtProbe < PROBE_EVERY_BYTES) return false;
    this.#probes.set(channel, this.#sentBytes);
    this.#sentBytesAtProbe = this.#sentBytes;
    return true;
  }

  /** Returns whether a `join` answers a probe, and so confirms what was sent before the probe. */
  endProbe(channel: string): boolean {
    const confirmed = this.#probes.get(channel);
    if (confirmed === undefined) return false;
    this.#confirmedBytes = Math.max(this.#confirmedBytes, confirmed);
    // The client answers in order: older probes were for channels that it does not listen to.
    for (const [other, bytes] of this.#probes) if (bytes <= confirmed) this.#probes.delete(other);
    return true;
  }

  /** Expects no answer for a channel that the client has left. */
  dropProbe(channel: string): void {
    this.#probes.delete(channel);
  }

  /** Returns why the client must be closed, or undefined. */
  verdict(now: number): Verdict | undefined {
    if (this.#sentBytes - this.#confirmedBytes > MAX_UNCONFIRMED_CHARACTERS) return "slow";
    return this.#usesHeartbeats && now - this.#heardAt > HEARTBEAT_TIMEOUT_MS ? "gone" : undefined;
  }
}
