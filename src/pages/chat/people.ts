import type { Channel, Member, Message, Presence } from "../../client/client.ts";
import { create } from "../dom.ts";
import { avatarOf } from "./avatar.ts";
import { ownDirection, partsOf } from "./line.ts";

/** Members shown; the rest is a number. */
const SHOWN = 100;
const IDS_KEY = "socketIds";
/** Ids of this tab's connections that are kept: more than there are in a day of a bad network. */
const IDS_KEPT = 100;

/** Who is here, by the names under which they spoke. */
export class People {
  readonly #room: Channel;
  readonly #title: HTMLElement;
  readonly #list: HTMLElement;
  /** Names by socketId: presence tells no names of anonymous clients, but their messages do. */
  readonly #names = new Map<string, string>();
  /** The socketIds under which this tab has spoken, which a reload is not to forget. */
  readonly #mine = new Set<string>(JSON.parse(sessionStorage.getItem(IDS_KEY) ?? "[]") as string[]);
  #presence: Presence = { members: [], total: 0 };

  constructor(room: Channel, title: HTMLElement, list: HTMLElement) {
    this.#room = room;
    this.#title = title;
    this.#list = list;
    room.on("presence", (presence) => {
      this.#presence = presence;
      this.#show();
    });
    room.on("status", (status) => status === "online" && this.#remember());
  }

  isMine({ client }: Message): boolean {
    return client !== undefined && this.#mine.has(client.socketId);
  }

  /** Learns a name from what its bearer says. */
  heard({ action, client, payload }: Message): void {
    const { name } = partsOf(payload);
    if (action !== "message" || !client || !name || this.#names.get(client.socketId) === name) return;
    this.#names.set(client.socketId, name);
    if (this.#presence.members.some(({ socketId }) => socketId === client.socketId)) this.#show();
  }

  #remember(): void {
    if (!this.#room.me) return;
    this.#mine.add(this.#room.me.socketId);
    sessionStorage.setItem(IDS_KEY, JSON.stringify([...this.#mine].slice(-IDS_KEPT)));
  }

  #show(): void {
    const { members, total } = this.#presence;
    this.#title.textContent = `${total} here`;
    const listed = members.toSorted((a, b) => Number(this.#isMe(b)) - Number(this.#isMe(a))).slice(0, SHOWN);
    const rows = listed.map((member) => this.#row(member));
    if (total > listed.length) rows.push(create("li", "rest", `and ${total - listed.length} more`));
    this.#list.replaceChildren(...rows);
  }

  #row(member: Member): HTMLLIElement {
    const name = this.#names.get(member.socketId) ?? `Guest ${member.socketId.slice(0, 4)}`;
    const row = create("li");
    row.append(avatarOf(name), ownDirection(create("span", "who", name)));
    if (this.#isMe(member)) row.append(create("span", "badge", "you"));
    return row;
  }

  #isMe({ socketId }: Member): boolean {
    return socketId === this.#room.me?.socketId;
  }
}
