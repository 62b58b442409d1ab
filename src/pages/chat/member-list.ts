import type { Channel, Member, Message, Presence } from "../../../packages/client/src/client.ts";
import { create } from "../dom.ts";
import { avatarOf } from "./avatar.ts";
import { partsOf, withAutoDirection } from "./line.ts";

/** The list shows this many members, and the number of the others. */
const MAX_SHOWN = 100;
const IDS_KEY = "socketIds";
/** How many ids of this tab's connections are stored: more than a day on a bad network needs. */
const MAX_STORED_IDS = 100;

/** Shows the members of the room, with the names from their messages. */
export class MemberList {
  readonly #room: Channel;
  readonly #title: HTMLElement;
  readonly #list: HTMLElement;
  /** Names by `socketId`. Presence has no names of anonymous clients, but their messages have. */
  readonly #names = new Map<string, string>();
  /** The `socketId`s of this tab's connections. They are stored, so that the tab knows its own messages after a reload. */
  readonly #myIds = new Set<string>(JSON.parse(sessionStorage.getItem(IDS_KEY) ?? "[]") as string[]);
  #presence: Presence = { members: [], total: 0 };

  constructor(room: Channel, title: HTMLElement, list: HTMLElement) {
    this.#room = room;
    this.#title = title;
    this.#list = list;
    room.on("presence", (presence) => {
      this.#presence = presence;
      this.#show();
    });
    room.on("status", (status) => status === "online" && this.#storeMyId());
  }

  isMine({ client }: Message): boolean {
    return client !== undefined && this.#myIds.has(client.socketId);
  }

  /** Notes the sender's name in a message, and shows it in the list. */
  noteName({ action, client, payload }: Message): void {
    const { name } = partsOf(payload);
    if (action !== "message" || !client || !name || this.#names.get(client.socketId) === name) return;
    this.#names.set(client.socketId, name);
    if (this.#presence.members.some(({ socketId }) => socketId === client.socketId)) this.#show();
  }

  #storeMyId(): void {
    if (!this.#room.me) return;
    this.#myIds.add(this.#room.me.socketId);
    sessionStorage.setItem(IDS_KEY, JSON.stringify([...this.#myIds].slice(-MAX_STORED_IDS)));
  }

  #show(): void {
    const { members, total } = this.#presence;
    this.#title.textContent = `${total} here`;
    const listed = members.toSorted((a, b) => Number(this.#isMe(b)) - Number(this.#isMe(a))).slice(0, MAX_SHOWN);
    const rows = listed.map((member) => this.#row(member));
    if (total > listed.length) rows.push(create("li", "rest", `and ${total - listed.length} more`));
    this.#list.replaceChildren(...rows);
  }

  #row(member: Member): HTMLLIElement {
    const name = this.#names.get(member.socketId) ?? `Guest ${member.socketId.slice(0, 4)}`;
    const row = create("li");
    row.append(avatarOf(name), withAutoDirection(create("span", "who", name)));
    if (this.#isMe(member)) row.append(create("span", "badge", "you"));
    return row;
  }

  #isMe({ socketId }: Member): boolean {
    return socketId === this.#room.me?.socketId;
  }
}
