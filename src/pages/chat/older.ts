import type { Channel, Message } from "../../client/client.ts";
import { create } from "../dom.ts";

/** Messages fetched at once: a few screens. */
const PAGE = 50;

interface OlderMessagesDeps {
  room: Channel;
  /** The box that scrolls, and what stands at its beginning. */
  log: HTMLElement;
  notice: HTMLElement;
  /** The `seq` of the oldest message shown. */
  oldest: () => number | undefined;
  show: (page: Message[]) => void;
}

/** Brings older messages as their place at the beginning comes into sight. */
export class Older {
  readonly #deps: OlderMessagesDeps;
  readonly #sight: IntersectionObserver;
  #pages: AsyncGenerator<Message[]> | undefined;
  #loading = false;

  constructor(deps: OlderMessagesDeps) {
    this.#deps = deps;
    const look = (entries: IntersectionObserverEntry[]) => {
      if (entries.at(-1)?.isIntersecting) void this.#load();
    };
    this.#sight = new IntersectionObserver(look, { root: deps.log, rootMargin: "400px 0px 0px" });
  }

  /** Begins before the oldest message shown; anew, where that one is another now. */
  start(): void {
    const { room, oldest } = this.#deps;
    this.#pages = room.history({ before: oldest() ?? (room.seq ?? 0) + 1, limit: PAGE });
    this.#lookAgain();
  }

  async #load(): Promise<void> {
    const pages = this.#pages;
    if (!pages || this.#loading) return;
    const { notice, show } = this.#deps;
    this.#loading = true;
    notice.textContent = "Loading older messages…";
    try {
      const { value, done } = await pages.next();
      // Begun anew meanwhile: this page no longer fits on to what is shown.
      if (pages === this.#pages && !done) show(value);
      notice.textContent = done ? "This is where the room begins." : "";
      if (!done) this.#lookAgain();
    } catch {
      notice.replaceChildren("Older messages could not be loaded. ", this.#again());
    } finally {
      this.#loading = false;
    }
  }

  /** What is observed anew is told of anew, should it still be in sight. */
  #lookAgain(): void {
    this.#sight.unobserve(this.#deps.notice);
    this.#sight.observe(this.#deps.notice);
  }

  #again(): HTMLButtonElement {
    const again = create("button", "link", "Try again");
    again.type = "button";
    again.addEventListener("click", () => this.start());
    return again;
  }
}
