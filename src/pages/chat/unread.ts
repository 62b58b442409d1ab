import { create } from "../dom.ts";
import type { Timeline } from "./timeline.ts";

/** Counts the messages that nobody has seen yet, in the tab's title and on a button, and marks where they begin. */
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
      timeline.toEnd();
      log.focus();
    });
    log.addEventListener("scroll", () => this.#look(), { passive: true });
    document.addEventListener("visibilitychange", () => this.#look());
  }

  /** Notes a message that was just added; `inSight` says whether the end was being read when it came. */
  note(line: HTMLLIElement, inSight: boolean): void {
    if (inSight && !document.hidden) return;
    if (this.#count === 0) {
      line.classList.remove("follows");
      line.before(this.#marker);
    }
    this.#count += 1;
    this.#show();
  }

  #look(): void {
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
