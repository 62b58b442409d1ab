import { createClient, type Message, type Resumed, type Status } from "../../packages/client/src/client.ts";
import { lineOf } from "./chat/line.ts";
import { OlderMessages } from "./chat/older.ts";
import { PendingMessages } from "./chat/pending-messages.ts";
import { MemberList } from "./chat/member-list.ts";
import { Timeline } from "./chat/timeline.ts";
import { Unread } from "./chat/unread.ts";
import { element } from "./dom.ts";

const CHANNEL = "marvel_chat_room";
const NAME_KEY = "name";

const STATUS: Record<Status, string> = {
  connecting: "Connecting…",
  online: "Online",
  offline: "Offline: reconnecting…",
  closed: "Closed: reload the page to reconnect",
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
const members = new MemberList(room, element("members-title", HTMLElement), element("members", HTMLElement));
const pending = new PendingMessages(room, element("pending", HTMLOListElement));
const older = new OlderMessages({
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
  pending.send({ name: name.value, text: text.value });
  text.value = "";
  text.focus();
  timeline.scrollToEnd();
}

function show(message: Message): void {
  const wasAtEnd = timeline.atEnd;
  const added = line(message);
  const hasRemoved = timeline.append(added);
  if (hasRemoved) older.start();
  if (!members.isMine(message)) unread.note(added, wasAtEnd);
}

function line(message: Message): HTMLLIElement {
  members.noteName(message);
  return lineOf(message, members.isMine(message));
}

function showStatus(now: Status): void {
  status.dataset["status"] = now;
  status.textContent = STATUS[now];
  if (now !== "online") return;
  showError(undefined);
  // The channel's position is known now, so older messages can be read before it.
  if (timeline.oldest === undefined) older.start();
}

function showResumed({ missed, complete }: Resumed): void {
  const received = missed === 0 ? "no new messages" : `${missed} new ${missed === 1 ? "message" : "messages"}`;
  status.textContent = complete ? `Online: you missed nothing (${received})` : "Online: some messages are missing";
}

function showError(message: string | undefined): void {
  error.hidden = message === undefined;
  error.textContent = message ?? "";
}
