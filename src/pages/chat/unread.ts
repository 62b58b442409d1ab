import { create } from "../dom.ts";
import type { Timeline } from "./timeline.ts";

/** Shows the number of unread messages in the tab's title and on a button, and marks the first of them. */
export class Unread {
  readonly #timeline: Timeline;
  readonly #button: HTMLButtonElement;
  readonly #marker = create("li", "unread", "New messages");
  readonly #title = document.title;
  #count = 0;

  constructor(timeline: Timeline, log: HTMLElement, button: HTMLButtonElement) {
    this.#timeline = timeline;
    this.#button = button;
    button.addEventListener("click", () => {
      timeline.scrollToEnd();
      log.focus();
    });
    log.addEventListener("scroll", () => this.#clearIfRead(), { passive: true });
    document.addEventListener("visibilitychange", () => this.#clearIfRead());
  }

  /** Counts a message that was just added, unless the reader has seen it. @param wasAtEnd Whether the reader was at the end. */
  note(line: HTMLLIElement, wasAtEnd: boolean): void {
    if (wasAtEnd && !document.hidden) return;
    if (this.#count === 0) {
      line.classList.remove("follows");
      line.before(this.#marker);
    }
    this.#count += 1;
    this.#show();
  }

  #clearIfRead(): void {
    if (this.#count === 0 || document.hidden || !this.#timeline.atEnd) return;
    this.#count = 0;
    this.#show();
  }

  #show(): void {
    document.title = this.#count === 0 ? this.#title : `(${this.#count}) ${this.#title}`;
    this.#button.hidden = this.#count === 0;
    this.#button.textContent = `${this.#count} new ${this.#count === 1 ? "message" : "messages"} ↓`;
  }
}
