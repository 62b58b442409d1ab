import { type Channel, ChannelError } from "../../../packages/client/src/client.ts";
import { create } from "../dom.ts";
import { lineFor, type ChatMessage } from "./line.ts";

/** Shows the messages of this tab that are not stored yet, or that failed, below the stored ones. */
export class PendingMessages {
  readonly #room: Channel;
  readonly #list: HTMLOListElement;
  /** The elements that show the states of the messages that are being sent. */
  readonly #states = new Set<HTMLElement>();

  constructor(room: Channel, list: HTMLOListElement) {
    this.#room = room;
    this.#list = list;
    room.on("status", () => this.#states.forEach((state) => this.#showState(state)));
  }

  /** Sends a message, and shows its state until it is stored. */
  send(message: ChatMessage): void {
    const line = lineFor(message);
    line.classList.add("mine", "pending");
    const state = create("p", "state");
    line.append(state);
    this.#list.append(line);
    void this.#send(message, line, state);
  }

  async #send(message: ChatMessage, line: HTMLLIElement, state: HTMLElement): Promise<void> {
    this.#states.add(state);
    this.#showState(state);
    try {
      await this.#room.send(message);
      line.remove();
    } catch (error) {
      this.#fail(message, line, state, error);
    } finally {
      this.#states.delete(state);
    }
  }

  #showState(state: HTMLElement): void {
    state.textContent = this.#room.status === "online" ? "Sending…" : "Waiting for a connection…";
  }

  /** Shows why a message was not sent, with buttons to send it again or to remove it. */
  #fail(message: ChatMessage, line: HTMLLIElement, state: HTMLElement, error: unknown): void {
    line.classList.add("failed");
    const again = button("Send again", () => {
      line.remove();
      this.send(message);
    });
    const remove = button("Remove", () => line.remove());
    state.replaceChildren(`${reasonOf(error)} `, again, " ", remove);
  }
}

function reasonOf(error: unknown): string {
  if (error instanceof ChannelError && error.code === "unconfirmed") {
    return "The connection was lost. This message may not have been sent.";
  }
  return `Not sent. ${error instanceof Error ? error.message : ""}`;
}

function button(label: string, act: () => void): HTMLButtonElement {
  const node = create("button", "link", label);
  node.type = "button";
  node.addEventListener("click", act);
  return node;
}
