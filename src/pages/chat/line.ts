import type { Message } from "../../client/client.ts";
import { create } from "../dom.ts";
import { avatarOf } from "./avatar.ts";

/** What this page sends. */
export interface Said {
  name: string;
  text: string;
}

/** Messages of one sender that follow each other within this many milliseconds are shown as one. */
const ONE_BREATH = 5 * 60_000;

const CLOCK = new Intl.DateTimeFormat([], { timeStyle: "short" });
const DATE = new Intl.DateTimeFormat([], { day: "numeric", month: "short" });

/**
 * A message as an item of the list. All that came from outside goes in as text, never as markup. Only an event without a
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

/** An item with who said what. */
export function lineFor({ name, text }: Said): HTMLLIElement {
  const line = create("li");
  const meta = create("p", "meta");
  meta.append(create("span", "who", name));
  line.append(avatarOf(name), meta, create("p", "said", text));
  return line;
}

/** Whether a line goes on where the one before it left off. */
export function follows(line: HTMLElement, before: Element | null): boolean {
  if (!(before instanceof HTMLElement) || before.dataset["author"] !== line.dataset["author"]) return false;
  return Date.parse(line.dataset["time"] ?? "") - Date.parse(before.dataset["time"] ?? "") < ONE_BREATH;
}

/** What this page sends is `{name, text}`; anything else that was published to the room is shown as it is. */
export function partsOf(payload: unknown): Said {
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
