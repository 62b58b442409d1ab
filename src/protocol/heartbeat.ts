/**
 * A client that sends this text gets the other back, from the runtime itself: the object is not woken and nothing is
 * billed, so a channel hibernates while its clients keep their connections alive.
 */
export const HEARTBEAT_REQUEST = "ping";
export const HEARTBEAT_RESPONSE = "pong";
