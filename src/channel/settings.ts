import type { NamedSettings } from "../auth/settings.ts";
import type { ChannelSettings } from "../protocol/schemas.ts";

/** How long a copy of the settings counts as fresh, in milliseconds, where nobody tells of a change. */
const FRESH_FOR = 5_000;

/** What holds for a channel, and the name or pattern that it is stored for; null where nothing does. */
export type Holding = NamedSettings | null;

/**
 * The channel's copy of the settings that hold for it. It lives in the object's storage too, so that after hibernation
 * frames are judged at once and in order, and while D1 is away by what was last known.
 */
export class SettingsCopy {
  readonly #kv: SyncKvStorage;
  readonly #load: () => Promise<Holding>;
  readonly #changed: (settings: ChannelSettings | null) => void;
  #copy: { holding: Holding } | undefined;
  #loadedAt = -Infinity;
  #loading: Promise<void> | undefined;

  /** @param changed Called with each change, once it is the copy. */
  constructor(kv: SyncKvStorage, load: () => Promise<Holding>, changed: (settings: ChannelSettings | null) => void) {
    this.#kv = kv;
    this.#load = load;
    this.#changed = changed;
    this.#copy = kv.get("settings");
  }

  /** The settings as last known, null where none hold. */
  get current(): ChannelSettings | null {
    return this.#copy?.holding?.settings ?? null;
  }

  /** Whether they are stored for another name: then nobody can tell this object of a change. */
  isInheritedBy(channel: string): boolean {
    const holding = this.#copy?.holding;
    return holding !== undefined && holding !== null && holding.channel !== channel;
  }

  /**
   * Sees to a fresh copy. Where there is one it goes on serving meanwhile, so that nobody waits for D1; where there is
   * none the first load is waited for, and its failure thrown.
   */
  async refresh(): Promise<void> {
    const reloaded = this.#reloaded();
    if (this.#copy === undefined) await reloaded;
    else reloaded.catch(() => {}); // The copy serves on; the next caller tries again.
  }

  /** Waits for a fresh copy. Where D1 does not answer, the one there is serves on. */
  async refreshed(): Promise<void> {
    await this.#reloaded().catch(() => {});
  }

  set(holding: Holding): void {
    const changed = JSON.stringify(this.#copy?.holding) !== JSON.stringify(holding);
    this.#copy = { holding };
    this.#loadedAt = Date.now();
    if (!changed) return;
    this.#kv.put("settings", this.#copy);
    this.#changed(this.current);
  }

  async #reloaded(): Promise<void> {
    if (Math.abs(Date.now() - this.#loadedAt) < FRESH_FOR) return;
    await (this.#loading ??= this.#reload());
  }

  async #reload(): Promise<void> {
    const before = this.#copy;
    try {
      const loaded = await this.#load();
      // Whoever was told of a change meanwhile knows better than an older answer.
      if (this.#copy === before) this.set(loaded);
    } finally {
      this.#loading = undefined;
    }
  }
}
