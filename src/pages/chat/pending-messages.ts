import { type Channel, ChannelError } from "../../client/client.ts";
import { create } from "../dom.ts";
import { lineFor, type ChatMessage } from "./line.ts";

/** PendingMessages messages that are on their way, or did not arrive: below the others until these have them. */
export class PendingMessages {
  readonly #room: Channel;
  readonly #list: HTMLOListElement;
  /** The states of those on their way. */
  readonly #waiting = new Set<HTMLElement>();

  constructor(room: Channel, list: HTMLOListElement) {
    this.#room = room;
    this.#list = list;
    room.on("status", () => this.#waiting.forEach((state) => this.#tell(state)));
  }

  /** Sends a message, and shows how far it is. */
  say(said: ChatMessage): void {
    const line = lineFor(said);
    line.classList.add("mine", "on-its-way");
    const state = create("p", "state");
    line.append(state);
    this.#list.append(line);
    void this.#send(said, line, state);
  }

  async #send(said: ChatMessage, line: HTMLLIElement, state: HTMLElement): Promise<void> {
    this.#waiting.add(state);
    this.#tell(state);
    try {
      await this.#room.send(said);
      line.remove();
    } catch (error) {
      this.#fail(said, line, state, error);
    } finally {
      this.#waiting.delete(state);
    }
  }

  #tell(state: HTMLElement): void {
    state.textContent = this.#room.status === "online" ? "Sending…" : "Waiting for a connection…";
  }

  /** A text that was not sent stays, with the reason and two ways out. */
  #fail(said: ChatMessage, line: HTMLLIElement, state: HTMLElement, error: unknown): void {
    line.classList.add("failed");
    const again = button("Send again", () => {
      line.remove();
      this.say(said);
    });
    const drop = button("Remove", () => line.remove());
    state.replaceChildren(`${reasonOf(error)} `, again, " ", drop);
  }
}

function reasonOf(error: unknown): string {
  if (error instanceof ChannelError && error.code === "unconfirmed") {
    return "The connection was lost; this may not have been sent.";
  }
  return `Not sent. ${error instanceof Error ? error.message : ""}`;
}

function button(label: string, act: () => void): HTMLButtonElement {
  const node = create("button", "link", label);
  node.type = "button";
  node.addEventListener("click", act);
  return node;
}
