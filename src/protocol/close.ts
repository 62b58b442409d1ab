/**
 * The codes that the server closes connections with. On those of RFC 6455 clients come back by themselves; on 4400 to
 * 4499 that would change nothing.
 */
export const CLOSE = {
  /** The client sent far more frames than it may (LIM6): come back, and send less. */
  flood: 1008,
  /** The way to one of a connection's channels is lost: come back and start anew. */
  restart: 1012,
  /** The client reads too slowly, or its heartbeat stopped: come back and resume. */
  tryAgain: 1013,
  /** The token has expired, or its user was disconnected. */
  expired: 4401,
  /** Changed settings no longer admit the client. */
  forbidden: 4403,
} as const;

/** The reason that goes with `CLOSE.flood`. */
export const FLOOD_REASON = "too many frames";

/** Whether coming back would change nothing. */
export function isFinal(code: number): boolean {
  return code >= 4400 && code < 4500;
}
