import { follows } from "./line.ts";

/** Messages kept on the page: enough to scroll through, and few enough for a fast page. */
const MAX_SHOWN = 1_000;

/** A reader within this distance of the end counts as being at the end. */
const NEAR_END_PX = 80;

/** The list of messages, in the box that scrolls. */
export class Timeline {
  readonly #log: HTMLElement;
  readonly #list: HTMLOListElement;

  constructor(log: HTMLElement, list: HTMLOListElement) {
    this.#log = log;
    this.#list = list;
  }

  /** Whether the newest message is in sight. */
  get atEnd(): boolean {
    return this.#log.scrollHeight - this.#log.scrollTop - this.#log.clientHeight < NEAR_END_PX;
  }

  /** The `seq` of the oldest message shown. */
  get oldest(): number | undefined {
    const first = this.#list.querySelector<HTMLElement>("[data-seq]");
    return first ? Number(first.dataset["seq"]) : undefined;
  }

  scrollToEnd(): void {
    this.#log.scrollTop = this.#log.scrollHeight;
  }

  /** Adds a message at the end, and scrolls to it if the reader was at the end. Returns whether it removed old messages. */
  append(line: HTMLLIElement): boolean {
    const { atEnd } = this;
    line.classList.toggle("follows", follows(line, this.#list.lastElementChild));
    this.#list.append(line);
    if (!atEnd) return false;
    const hasRemoved = this.#list.childElementCount > MAX_SHOWN;
    while (this.#list.childElementCount > MAX_SHOWN) this.#list.firstElementChild?.remove();
    this.scrollToEnd();
    return hasRemoved;
  }

  /** Adds older messages at the beginning. The messages in sight stay where they are. */
  prepend(lines: readonly HTMLLIElement[]): void {
    const { atEnd } = this;
    const distanceFromEnd = this.#log.scrollHeight - this.#log.scrollTop;
    const next = this.#list.firstElementChild;
    // While the log is busy, a screen reader does not read the added messages aloud.
    this.#log.ariaBusy = "true";
    this.#list.prepend(...lines);
    for (const line of lines) line.classList.toggle("follows", follows(line, line.previousElementSibling));
    if (next instanceof HTMLElement) next.classList.toggle("follows", follows(next, next.previousElementSibling));
    this.#log.scrollTop = this.#log.scrollHeight - distanceFromEnd;
    if (atEnd) this.scrollToEnd();
    this.#log.ariaBusy = "false";
  }
}
