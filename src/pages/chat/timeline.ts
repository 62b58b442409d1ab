import { follows } from "./line.ts";

/** Messages kept on the page: enough to scroll, few enough to stay quick. */
const SHOWN = 1_000;

/** How near to the end, in pixels, counts as there. */
const NEAR = 80;

/** The list of messages, and the box that it scrolls in. */
export class Timeline {
  readonly #log: HTMLElement;
  readonly #list: HTMLOListElement;

  constructor(log: HTMLElement, list: HTMLOListElement) {
    this.#log = log;
    this.#list = list;
  }

  /** Whether the newest message is in sight. */
  get atEnd(): boolean {
    return this.#log.scrollHeight - this.#log.scrollTop - this.#log.clientHeight < NEAR;
  }

  /** The `seq` of the oldest message shown. */
  get oldest(): number | undefined {
    const first = this.#list.querySelector<HTMLElement>("[data-seq]");
    return first ? Number(first.dataset["seq"]) : undefined;
  }

  toEnd(): void {
    this.#log.scrollTop = this.#log.scrollHeight;
  }

  /** Adds a message behind the others; who reads the end goes on reading the end. Answers whether old ones were let go. */
  append(line: HTMLLIElement): boolean {
    const { atEnd } = this;
    line.classList.toggle("follows", follows(line, this.#list.lastElementChild));
    this.#list.append(line);
    if (!atEnd) return false;
    const crowded = this.#list.childElementCount > SHOWN;
    while (this.#list.childElementCount > SHOWN) this.#list.firstElementChild?.remove();
    this.toEnd();
    return crowded;
  }

  /** Adds older messages before the others; what is being read stays where it is. */
  prepend(lines: readonly HTMLLIElement[]): void {
    const { atEnd } = this;
    const below = this.#log.scrollHeight - this.#log.scrollTop;
    const next = this.#list.firstElementChild;
    // Older messages are no news: a screen reader is not to read them all out.
    this.#log.ariaBusy = "true";
    this.#list.prepend(...lines);
    for (const line of lines) line.classList.toggle("follows", follows(line, line.previousElementSibling));
    if (next instanceof HTMLElement) next.classList.toggle("follows", follows(next, next.previousElementSibling));
    this.#log.scrollTop = this.#log.scrollHeight - below;
    if (atEnd) this.toEnd();
    this.#log.ariaBusy = "false";
  }
}
