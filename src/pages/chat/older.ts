import type { Channel, Message } from "../../../packages/client/src/client.ts";
import { create } from "../dom.ts";

/** Messages per page: a few screens. */
const PAGE_MESSAGES = 50;

interface OlderMessagesDeps {
  room: Channel;
  /** The box that scrolls. */
  log: HTMLElement;
  /** The line above the oldest message. */
  notice: HTMLElement;
  /** The `seq` of the oldest message shown. */
  oldest: () => number | undefined;
  /** Shows a page above the others. */
  show: (page: Message[]) => void;
}

/** Loads older messages when the reader scrolls to the beginning. */
export class OlderMessages {
  readonly #deps: OlderMessagesDeps;
  readonly #observer: IntersectionObserver;
  #pages: AsyncGenerator<Message[]> | undefined;
  #loading = false;

  constructor(deps: OlderMessagesDeps) {
    this.#deps = deps;
    const onChange = (entries: IntersectionObserverEntry[]) => {
      if (entries.at(-1)?.isIntersecting) void this.#load();
    };
    this.#observer = new IntersectionObserver(onChange, { root: deps.log, rootMargin: "400px 0px 0px" });
  }

  /** Starts to read before the oldest message shown. Call this again when that message has changed. */
  start(): void {
    const { room, oldest } = this.#deps;
    this.#pages = room.history({ before: oldest() ?? (room.seq ?? 0) + 1, limit: PAGE_MESSAGES });
    this.#observeAgain();
  }

  async #load(): Promise<void> {
    const pages = this.#pages;
    if (!pages || this.#loading) return;
    const { notice, show } = this.#deps;
    this.#loading = true;
    notice.textContent = "Loading older messages…";
    try {
      const { value, done } = await pages.next();
      // If `start` ran again meanwhile, this page no longer fits the messages shown.
      if (pages === this.#pages && !done) show(value);
      notice.textContent = done ? "This is the beginning of the room." : "";
      if (!done) this.#observeAgain();
    } catch {
      notice.replaceChildren("Older messages could not be loaded. ", this.#retryButton());
    } finally {
      this.#loading = false;
    }
  }

  /** Makes the observer report again if the notice is still in sight. */
  #observeAgain(): void {
    this.#observer.unobserve(this.#deps.notice);
    this.#observer.observe(this.#deps.notice);
  }

  #retryButton(): HTMLButtonElement {
    const button = create("button", "link", "Try again");
    button.type = "button";
    button.addEventListener("click", () => this.start());
    return button;
  }
}
