import * as v from "valibot";
import { FreshCopy } from "../auth/fresh-copy.ts";
import type { Revocations } from "../auth/revocations.ts";
import type { EffectiveSettings } from "../auth/settings.ts";
import { refuse } from "../protocol/errors.ts";
import { type ChannelSettings, StoredSettings } from "../protocol/schemas.ts";

/** What holds for a channel; null where nothing does. */
export type Holding = EffectiveSettings | null;

/** The refusal of an action that cannot be decided or numbered before D1 has answered. */
export const UNAVAILABLE = refuse("unavailable", "The channel's history or settings cannot be read just now.", {
  retryAfter: 1,
});

interface SettingsEvents {
  /** Called with each change, once it is the copy. */
  changed: () => void;
  /** Called with the error of each failed load. */
  failed: (error: unknown) => void;
}

/**
 * The channel's copy of the settings that hold for it. It lives in the object's storage too, so that the last known
 * settings hold while D1 is away, also after hibernation.
 */
export class SettingsCopy {
  readonly #kv: SyncKvStorage;
  readonly #load: () => Promise<Holding>;
  readonly #changed: () => void;
  readonly #copy: FreshCopy<Holding>;
  /** The copy's JSON as it was when it last changed. */
  #json: string | undefined;
  /** Whether changes are written to the object's storage. */
  #isStored: boolean;

  constructor(kv: SyncKvStorage, load: () => Promise<Holding>, { changed, failed }: SettingsEvents) {
    this.#kv = kv;
    this.#load = load;
    this.#changed = changed;
    const stored = storedIn(kv);
    this.#json = stored && JSON.stringify(stored.holding);
    this.#isStored = stored !== undefined;
    this.#copy = new FreshCopy(
      true,
      { accepted: (holding) => this.#accepted(holding), failed },
      stored && { value: stored.holding },
    );
  }

  /** The settings as last known, null if none hold or none are known. */
  get current(): ChannelSettings | null {
    return this.#copy.known?.value?.settings ?? null;
  }

  /** Whose tokens of the channel's auth database are revoked, as last known. */
  get revocations(): Revocations {
    return this.#copy.known?.value?.authDatabase?.revocations ?? {};
  }

  /** What holds as last known, undefined if that is not known. */
  get lastKnown(): { value: Holding } | undefined {
    return this.#copy.known;
  }

  /** Whether it is known which settings hold. */
  get isKnown(): boolean {
    return this.#copy.known !== undefined;
  }

  /** Whether an action may be judged by the current settings without waiting for D1. */
  isUsable(): boolean {
    return this.#copy.isUsable(this.#load) && this.isKnown;
  }

  /** Makes the settings usable: waits for fresh ones, at most one second, or five seconds if none are known. */
  async refreshed(): Promise<void> {
    if (!this.#copy.isUsable(this.#load)) await this.#copy.refreshed(this.#load);
    if (!this.isKnown) await this.#copy.loaded(this.#load);
  }

  /**
   * Waits for fresh settings inside `blockConcurrencyWhile`, at most one second. The runtime delivers only the results of
   * requests that begin inside of it, so a load that is under way already does not help.
   */
  async refreshedWhileBlocking(): Promise<void> {
    if (!this.#copy.isUsable(this.#load)) await this.#copy.refreshed(this.#load, false);
  }

  /** @param ageMs How long ago the settings were read from D1. */
  set(holding: Holding, ageMs = 0): void {
    this.#copy.set(holding, ageMs);
  }

  /** Writes the copy to the object's storage, and from now on each change of it. To be called once the channel is in use. */
  store(): void {
    if (this.#isStored) return;
    this.#isStored = true;
    if (this.lastKnown) this.#kv.put("settings", { holding: this.lastKnown.value });
  }

  #accepted(holding: Holding): void {
    const json = JSON.stringify(holding);
    if (json === this.#json) return;
    this.#json = json;
    if (this.#isStored) this.#kv.put("settings", { holding });
    this.#changed();
  }
}

/** Returns the copy in the object's storage. A setting that the version which stored it did not know has its default. */
function storedIn(kv: SyncKvStorage): { holding: Holding } | undefined {
  const stored = kv.get<{ holding: Holding }>("settings");
  if (!stored?.holding) return stored;
  return { holding: { ...stored.holding, settings: v.parse(StoredSettings, stored.holding.settings) } };
}
