/**
 * The codes with which the server closes connections. After a code of RFC 6455 a client reconnects. After a code from 4400 to
 * 4499 reconnecting would not help.
 */
export const CLOSE = {
  /** The client sent far more frames than allowed (LIM6). It may reconnect, and must send less. */
  flood: 1008,
  /** A multiplexed connection lost one of its channels. The client must reconnect and join again. */
  restart: 1012,
  /** The client is slow, or its heartbeats stopped. It may reconnect and resume. */
  tryAgain: 1013,
  /** The token has expired, or its user was disconnected. */
  expired: 4401,
  /** Changed settings no longer admit the client. */
  forbidden: 4403,
} as const;

/** The close reason that is sent with `CLOSE.flood`. */
export const FLOOD_REASON = "too many frames";

/** Returns whether reconnecting after this close code would not help. */
export function isFinal(code: number): boolean {
  return code >= 4400 && code < 4500;
}
