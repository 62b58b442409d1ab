import { HEARTBEAT_TIMEOUT_MS, MAX_UNCONFIRMED_CHARACTERS, type Verdict } from "../../channel/backpressure.ts";
import { utf8Length } from "../../protocol/utf8.ts";

/**
 * Text of answers to joins that does not count as unconfirmed, per connection, in bytes. The objects send it at once,
 * before the client can confirm any of it. Without this allowance, a client that joins many channels would be closed as
 * slow, reconnect, and be closed again.
 */
export const MAX_CATCH_UP_BYTES = 32 * 1024 * 1024;

/** The unconfirmed text at which the server probes a client that sends no heartbeats: half of the limit, in bytes. */
export const PROBE_AFTER_BYTES = MAX_UNCONFIRMED_CHARACTERS / 2;
/** The text that is sent before another channel is probed, in bytes. */
const PROBE_EVERY_BYTES = 1024 * 1024;

/**
 * Decides whether the client of a multiplexed connection is slow or gone (CON7). The rules are the same as in
 * `Backpressure`, which polls the heartbeats of channel sockets. A multiplexed connection receives each heartbeat
 * itself, so its counts are exact.
 */
export class ClientMonitor {
  #sentBytes = 0;
  #sentBytesAtHeartbeat = 0;
  #confirmedBytes = 0;
  #catchUpBytes = 0;
  #usesHeartbeats = false;
  /** The text that was sent before each unanswered probe, in bytes, by the probe's channel. */
  readonly #probes = new Map<string, number>();
  #sentBytesAtProbe = 0;
  /** When the client last sent a frame, in milliseconds since the epoch. */
  #lastReceivedAt: number;

  /** @param now In milliseconds since the epoch. */
  constructor(now: number) {
    this.#lastReceivedAt = now;
  }

  /** Counts text sent to the client. */
  sent(text: string, isCatchUp = false): void {
    const bytes = utf8Length(text);
    if (isCatchUp && this.#catchUpBytes + bytes <= MAX_CATCH_UP_BYTES) this.#catchUpBytes += bytes;
    else this.#sentBytes += bytes;
  }

  /** Records that the client sent a frame of any kind. This proves that it is alive, but not how much it has read. */
  received(now: number): void {
    this.#lastReceivedAt = now;
  }

  /** Records a heartbeat. It confirms everything sent before the answer to the previous heartbeat (CON3). */
  heartbeat(): void {
    this.#usesHeartbeats = true;
    this.#confirmedBytes = this.#sentBytesAtHeartbeat;
    this.#sentBytesAtHeartbeat = this.#sentBytes;
  }

  /**
   * Returns whether to send a probe for this channel now. If so, `endProbe` expects its answer. A probe is a frame that
   * Xano's client answers with a `join`; it is for clients that send no heartbeats. Only call it for channels that the
   * client has joined.
   */
  startProbe(channel: string): boolean {
    if (this.#usesHeartbeats || this.#probes.has(channel)) return false;
    if (this.#sentBytes - this.#confirmedBytes < PROBE_AFTER_BYTES) return false;
    if (this.#probes.size > 0 && this.#sentBytes - this.#sentBytesAtProbe < PROBE_EVERY_BYTES) return false;
    this.#probes.set(channel, this.#sentBytes);
    this.#sentBytesAtProbe = this.#sentBytes;
    return true;
  }

  /** Returns whether a `join` answers a probe. If so, it confirms everything sent before the probe. */
  endProbe(channel: string): boolean {
    const confirmed = this.#probes.get(channel);
    if (confirmed === undefined) return false;
    this.#confirmedBytes = Math.max(this.#confirmedBytes, confirmed);
    // The client answers in order, so unanswered older probes were for channels that it does not listen to.
    for (const [other, bytes] of this.#probes) if (bytes <= confirmed) this.#probes.delete(other);
    return true;
  }

  /** Stops expecting an answer for a channel that the client has left. */
  dropProbe(channel: string): void {
    this.#probes.delete(channel);
  }

  /** Returns why the client must be closed, undefined if it must not. */
  verdict(now: number): Verdict | undefined {
    if (this.#sentBytes - this.#confirmedBytes > MAX_UNCONFIRMED_CHARACTERS) return "slow";
    return this.#usesHeartbeats && now - this.#lastReceivedAt > HEARTBEAT_TIMEOUT_MS ? "gone" : undefined;
  }
}
