import { createClient, type Message, type Resumed, type Status } from "../client/client.ts";

const CHANNEL = "marvel_chat_room";
const NAME_KEY = "name";
/** Messages kept on the page: enough to scroll, few enough to stay quick. */
const SHOWN = 1_000;

const STATUS: Record<Status, string> = {
  connecting: "Connecting…",
  online: "Online",
  offline: "Offline: reconnecting…",
  closed: "Closed: reload the page to come back",
};

const status = element("status", HTMLElement);
const list = element("messages", HTMLOListElement);
const form = element("form", HTMLFormElement);
const error = element("error", HTMLElement);
const name = element("name", HTMLInputElement);
const text = element("text", HTMLInputElement);
const send = element("send", HTMLButtonElement);

name.value = localStorage.getItem(NAME_KEY) ?? "";

const room = createClient().channel(CHANNEL, { history: true });
room.on("event", show);
room.on("message", show);
room.on("status", showStatus);
room.on("resumed", showResumed);
room.on("error", ({ message }) => showError(message));

form.addEventListener("submit", (event) => {
  event.preventDefault();
  void submit();
});

async function submit(): Promise<void> {
  localStorage.setItem(NAME_KEY, name.value);
  send.disabled = true;
  try {
    await room.publish({ name: name.value, text: text.value });
    text.value = "";
    showError(undefined);
  } catch (failure) {
    showError(`Not sent. ${failure instanceof Error ? failure.message : ""} Your text is still here; try again.`);
  } finally {
    send.disabled = false;
    text.focus();
  }
}

function show(message: Message): void {
  const atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 80;
  list.append(item(message));
  if (list.childElementCount > SHOWN) list.firstElementChild?.remove();
  if (atEnd) list.scrollTop = list.scrollHeight;
}

/** All that came from outside goes in as text, never as markup. */
function item({ options, payload }: Message): HTMLLIElement {
  const { who, said } = parts(payload);
  const time = create("time", "", new Date(options.time).toLocaleTimeString([], { timeStyle: "short" }));
  time.dateTime = options.time;
  const meta = create("p", "meta");
  meta.append(create("span", "who", who), time);
  const li = create("li", who === name.value ? "mine" : "");
  li.dataset["seq"] = String(options.seq);
  li.append(meta, create("p", "said", said));
  return li;
}

/** What this page posts is `{name, text}`; anything else that was published to the room is shown as it is. */
function parts(payload: unknown): { who: string; said: string } {
  if (typeof payload === "object" && payload !== null && "text" in payload && typeof payload.text === "string") {
    const who = "name" in payload && typeof payload.name === "string" ? payload.name : "";
    return { who: who || "Somebody", said: payload.text };
  }
  return { who: "Server", said: typeof payload === "string" ? payload : JSON.stringify(payload) };
}

function showStatus(now: Status): void {
  status.dataset["status"] = now;
  status.textContent = STATUS[now];
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

function create<K extends keyof HTMLElementTagNameMap>(tag: K, className = "", content = ""): HTMLElementTagNameMap[K] {
  const node = document.createElement(tag);
  node.className = className;
  node.textContent = content;
  return node;
}

function element<T extends HTMLElement>(id: string, type: new () => T): T {
  const found = document.querySelector(`#${id}`);
  if (!(found instanceof type)) throw new Error(`the page has no ${type.name} #${id}`);
  return found;
}
