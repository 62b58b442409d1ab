/** What every peer carries: some 150 bytes of JSON, and when the load meant to send it. */
const FILLER = "In the sky above the harbour something moved, and everyone who saw it wrote it down. ";

/** Begins each message, so that one search finds and counts the messages in any peer's frames. */
export const MARK = '{"t":';

/** A message's JSON text. @param time When it was meant to be sent, in microseconds of the load's clock. */
export function messageText(time: number): string {
  return `${MARK}${Math.round(time)},"name":"Sam","text":"${FILLER}"}`;
}
