import type { ChannelSettings } from "../protocol/schemas.ts";

/** How long a copy of the settings counts as fresh, in milliseconds, where nobody tells of a change. */
const FRESH_FOR = 5_000;

/**
 * The channel's copy of its settings. It lives in the object's storage too, so that after hibernation frames are
 * judged at once and in order, and while D1 is away by what was last known.
 */
export class SettingsCopy {
  readonly #kv: SyncKvStorage;
  readonly #load: () => Promise<ChannelSettings | null>;
  #copy: { settings: ChannelSettings | null } | undefined;
  #loadedAt = -Infinity;
  #loading: Promise<void> | undefined;

  constructor(kv: SyncKvStorage, load: () => Promise<ChannelSettings | null>) {
    this.#kv = kv;
    this.#load = load;
    this.#copy = kv.get("settings");
  }

  /** The settings as last known, null where the channel has none. */
  get current(): ChannelSettings | null {
    return this.#copy?.settings ?? null;
  }

  /**
   * Sees to a fresh copy. Where there is one it goes on serving meanwhile, so that nobody waits for D1; where there is
   * none the first load is waited for, and its failure thrown.
   */
  async refresh(): Promise<void> {
    if (Math.abs(Date.now() - this.#loadedAt) < FRESH_FOR) return;
    const loading = (this.#loading ??= this.#reload());
    if (this.#copy === undefined) await loading;
    else loading.catch(() => {}); // The copy serves on; the next caller tries again.
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

  set(settings: ChannelSettings | null): void {
    const changed = JSON.stringify(this.#copy) !== JSON.stringify({ settings });
    this.#copy = { settings };
    this.#loadedAt = Date.now();
    if (changed) this.#kv.put("settings", this.#copy);
  }
}
