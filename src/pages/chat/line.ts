import type { Message } from "../../../packages/client/src/client.ts";
import { create } from "../dom.ts";
import { avatarOf } from "./avatar.ts";

/** The payload of the messages that this page sends. */
export interface ChatMessage {
  name: string;
  text: string;
}

/** Messages of one sender are shown as a group if each follows the previous one within this time. */
const GROUP_GAP_MS = 5 * 60_000;

const CLOCK = new Intl.DateTimeFormat([], { timeStyle: "short" });
const DATE = new Intl.DateTimeFormat([], { day: "numeric", month: "short" });

/**
 * Returns a message as an item of the list. The message's content is added as text, never as markup. Only an event without a
 * client is from the backend.
 */
export function lineOf({ action, client, options, payload }: Message, isMine: boolean): HTMLLIElement {
  const { name, text } = partsOf(payload);
  const isFromBackend = action === "event" && client === undefined;
  const origin = isFromBackend ? "event" : "message";
  const line = lineFor({ name: name || (isFromBackend ? "Server" : "Guest"), text });
  line.classList.add(origin);
  if (isMine) line.classList.add("mine");
  if (isFromBackend) line.querySelector(".who")?.after(create("span", "badge", "event"));
  line.querySelector(".meta")?.append(timeOf(options.time));
  line.dataset["seq"] = String(options.seq);
  line.dataset["time"] = options.time;
  line.dataset["author"] = `${origin} ${client?.socketId ?? ""} ${name}`;
  return line;
}

/** Returns an item with a name and a text. */
export function lineFor({ name, text }: ChatMessage): HTMLLIElement {
  const line = create("li");
  const meta = create("p", "meta");
  meta.append(withAutoDirection(create("span", "who", name)));
  line.append(avatarOf(name), meta, withAutoDirection(create("p", "content", text)));
  return line;
}

/** Lets the browser choose the direction of a text by its first letters, for right-to-left languages. */
export function withAutoDirection<E extends HTMLElement>(node: E): E {
  node.dir = "auto";
  return node;
}

/** Returns whether a line belongs to the same group as the line before it. */
export function follows(line: HTMLElement, before: Element | null): boolean {
  if (!(before instanceof HTMLElement) || before.dataset["author"] !== line.dataset["author"]) return false;
  return Date.parse(line.dataset["time"] ?? "") - Date.parse(before.dataset["time"] ?? "") < GROUP_GAP_MS;
}

/** Returns the name and text of a payload. A payload that is not a `ChatMessage` is shown as JSON, without a name. */
export function partsOf(payload: unknown): ChatMessage {
  if (typeof payload === "object" && payload !== null && "text" in payload && typeof payload.text === "string") {
    const name = "name" in payload && typeof payload.name === "string" ? payload.name : "";
    return { name, text: payload.text };
  }
  return { name: "", text: typeof payload === "string" ? payload : JSON.stringify(payload) };
}

function timeOf(text: string): HTMLTimeElement {
  const at = new Date(text);
  const today = at.toDateString() === new Date().toDateString();
  const time = create("time", "", today ? CLOCK.format(at) : `${DATE.format(at)}, ${CLOCK.format(at)}`);
  time.dateTime = text;
  time.title = at.toLocaleString();
  return time;
}
