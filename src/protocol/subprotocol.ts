/** A client's own subprotocol, beside which it may offer its credential (AUT4). */
export const SUBPROTOCOL = "durable-channels.v1";
