/** Fills each message up to about 150 bytes of JSON. */
const FILLER = "In the sky above the harbour something moved, and everyone who saw it wrote it down. ";

/** The beginning of each message. A search for it finds and counts the messages in the frames of any peer. */
export const MARK = '{"t":';

/** Returns a message's JSON text. @param time When it was planned to be sent, in microseconds of the load generator's clock. */
export function messageText(time: number): string {
  return `${MARK}${Math.round(time)},"name":"Sam","text":"${FILLER}"}`;
}
