import { createClient, type Message, type Resumed, type Status } from "../client/client.ts";
import { lineOf } from "./chat/line.ts";
import { Older } from "./chat/older.ts";
import { PendingMessages } from "./chat/pending-messages.ts";
import { People } from "./chat/people.ts";
import { Timeline } from "./chat/timeline.ts";
import { Unread } from "./chat/unread.ts";
import { element } from "./dom.ts";

const CHANNEL = "marvel_chat_room";
const NAME_KEY = "name";

const STATUS: Record<Status, string> = {
  connecting: "Connecting…",
  online: "Online",
  offline: "Offline: reconnecting…",
  closed: "Closed: reload the page to come back",
};

const status = element("status", HTMLElement);
const log = element("log", HTMLElement);
const form = element("form", HTMLFormElement);
const error = element("error", HTMLElement);
const name = element("name", HTMLInputElement);
const text = element("text", HTMLTextAreaElement);

const room = createClient().channel(CHANNEL, { presence: true });
const timeline = new Timeline(log, element("messages", HTMLOListElement));
const unread = new Unread(timeline, log, element("jump", HTMLButtonElement));
const people = new People(room, element("here-title", HTMLElement), element("here", HTMLElement));
const own = new PendingMessages(room, element("on-their-way", HTMLOListElement));
const older = new Older({
  room,
  log,
  notice: element("older", HTMLElement),
  oldest: () => timeline.oldest,
  show: (page) => timeline.prepend(page.map((message) => line(message))),
});

room.on("event", show);
room.on("message", show);
room.on("status", showStatus);
room.on("resumed", showResumed);
room.on("error", ({ message }) => showError(message));

name.value = localStorage.getItem(NAME_KEY) ?? "";
(name.value === "" ? name : text).focus();
form.addEventListener("submit", submit);
text.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  form.requestSubmit();
});

function submit(event: SubmitEvent): void {
  event.preventDefault();
  if (text.value.trim() === "") return;
  localStorage.setItem(NAME_KEY, name.value);
  own.say({ name: name.value, text: text.value });
  text.value = "";
  text.focus();
  timeline.toEnd();
}

function show(message: Message): void {
  const inSight = timeline.atEnd;
  const added = line(message);
  const crowded = timeline.append(added);
  if (crowded) older.start();
  if (!people.isMine(message)) unread.note(added, inSight);
}

function line(message: Message): HTMLLIElement {
  people.heard(message);
  return lineOf(message, people.isMine(message));
}

function showStatus(now: Status): void {
  status.dataset["status"] = now;
  status.textContent = STATUS[now];
  if (now !== "online") return;
  showError(undefined);
  // Where the live messages begin is known now, and so where history ends.
  if (timeline.oldest === undefined) older.start();
}

function showResumed({ missed, complete }: Resumed): void {
  const caughtUp = missed === 0 ? "nothing was said meanwhile" : `${missed} caught up`;
  status.textContent = complete
    ? `Online: you missed nothing (${caughtUp})`
    : "Online: some messages could not be caught up";
}

function showError(message: string | undefined): void {
  error.hidden = message === undefined;
  error.textContent = message ?? "";
}
