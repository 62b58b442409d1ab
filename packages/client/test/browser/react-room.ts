import { createElement as h, StrictMode, useState } from "react";
import { createRoot } from "react-dom/client";
import { createClient } from "../../src/client.ts";
import { ChannelsProvider, useChannel, useConnection, usePresence } from "../../src/react.ts";

/** What react.test.ts bundles and loads into a page: a room as an app would write it, under StrictMode. */
let client = createClient();

function Room({ name }: { name: string }) {
  const room = useChannel<string>(client, name, { history: true, presence: true, keep: 5 });
  const [places, setPlaces] = useState<number[]>([]);
  const publish = async () => {
    const { seq } = await room.publish("published");
    setPlaces((before) => [...before, seq]);
  };
  return h(
    "main",
    {},
    h("p", { id: "status" }, room.status),
    h(
      "p",
      { id: "here" },
      `${room.presence.length} ${room.presence.some(({ socketId }) => socketId === room.me?.socketId)}`,
    ),
    h("p", { id: "error" }, room.error?.code),
    h("p", { id: "places" }, places.join(" ")),
    h(
      "ol",
      {},
      room.messages.map(({ key, payload }) => h("li", { key }, payload)),
    ),
    h("button", { onClick: () => void publish() }, "Publish"),
    h("button", { onClick: () => void room.send("sent") }, "Send"),
  );
}

/** Another component that uses the same channel. */
function Sidebar({ name }: { name: string }) {
  const { members, total, setPresence } = usePresence(name);
  const { status } = useConnection(name);
  const states = members.map(({ state }) => JSON.stringify(state ?? null)).join(" ");
  return h(
    "aside",
    {},
    h("p", { id: "sidebar" }, `${status} ${total} ${states}`),
    h("button", { onClick: () => void setPresence({ typing: true }) }, "Type"),
  );
}

function App({ names }: { names: string[] }) {
  const [shown, show] = useState(0);
  const name = names[shown];
  return h(
    "div",
    {},
    h("button", { onClick: () => show(shown + 1) }, "Next"),
    name === undefined ? null : h(Room, { name }),
    name === undefined ? null : h(Sidebar, { name }),
  );
}

Object.assign(globalThis, {
  /** @param url The server's origin, the page's own by default. */
  render: (names: string[], url?: string) => {
    if (url !== undefined) client = createClient({ url });
    document.body.textContent = "";
    const root = document.createElement("div");
    document.body.append(root);
    createRoot(root).render(h(StrictMode, {}, h(ChannelsProvider, { client }, h(App, { names }))));
  },
});
