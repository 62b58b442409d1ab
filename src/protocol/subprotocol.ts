/** The server's subprotocol. A client may offer a credential in addition to it (AUT4). */
export const SUBPROTOCOL = "durable-channels.v1";
