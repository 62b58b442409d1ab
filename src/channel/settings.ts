import * as v from "valibot";
import { FreshCopy } from "../shared/fresh-copy.ts";
import type { Revocations } from "../settings/revocations.ts";
import type { EffectiveSettings } from "../settings/channel-settings.ts";
import { refuse } from "../protocol/errors.ts";
import { type ChannelSettings, StoredSettings } from "../protocol/channel-settings.ts";

/** The refusal of an action for which the settings or the channel's last `seq` are needed, while D1 does not answer. */
export const UNAVAILABLE = refuse(
  "unavailable",
  "D1 does not answer, so the channel's history or settings cannot be read. Try again in 1 s.",
  {
    retryAfter: 1,
  },
);

interface SettingsEvents {
  /** Called after each change of the copy. */
  changed: () => void;
  /** Called with the error of each failed load. */
  failed: (error: unknown) => void;
}

/**
 * The channel's copy of its settings. It is also in the object's storage, so that the last known settings hold while D1
 * does not answer, even after hibernation.
 */
export class SettingsCopy {
  readonly #kv: SyncKvStorage;
  readonly #load: () => Promise<EffectiveSettings | null>;
  readonly #changed: () => void;
  readonly #copy: FreshCopy<EffectiveSettings | null>;
  /** The copy as JSON, at its last change. */
  #json: string | undefined;
  /** Whether changes are written to the object's storage. */
  #isStored: boolean;

  constructor(kv: SyncKvStorage, load: () => Promise<EffectiveSettings | null>, { changed, failed }: SettingsEvents) {
    this.#kv = kv;
    this.#load = load;
    this.#changed = changed;
    const stored = storedIn(kv);
    this.#json = stored && JSON.stringify(stored.holding);
    this.#isStored = stored !== undefined;
    this.#copy = new FreshCopy(
      true,
      { accepted: (effective) => this.#accepted(effective), failed },
      stored && { value: stored.holding },
    );
  }

  /** The last known settings, null if no settings hold or none are known. */
  get current(): ChannelSettings | null {
    return this.#copy.known?.value?.settings ?? null;
  }

  /** The last known settings with what belongs to them, null if no settings hold or none are known. */
  get effective(): EffectiveSettings | null {
    return this.#copy.known?.value ?? null;
  }

  /** The last known revocations of the channel's auth database. */
  get revocations(): Revocations {
    return this.#copy.known?.value?.authDatabase?.revocations ?? {};
  }

  /** The last known settings with their auth database, undefined if they are not known. */
  get lastKnown(): { value: EffectiveSettings | null } | undefined {
    return this.#copy.known;
  }

  /** Whether the settings are known. */
  get isKnown(): boolean {
    return this.#copy.known !== undefined;
  }

  /** Whether the copy may be used without waiting for D1. */
  isUsable(): boolean {
    return this.#copy.isUsable(this.#load) && this.isKnown;
  }

  /** Waits until the copy may be used, at most one second. For callers that can do without the settings. */
  async refreshedBriefly(): Promise<void> {
    if (!this.#copy.isUsable(this.#load)) await this.#copy.refreshed(this.#load);
  }

  /** Waits until the copy may be used: at most one second, or five seconds if no settings are known. */
  async refreshed(): Promise<void> {
    await this.refreshedBriefly();
    if (!this.isKnown) await this.#copy.loaded(this.#load);
  }

  /**
   * Waits for fresh settings inside `blockConcurrencyWhile`, at most one second. Always starts a load of its own:
   * inside, the runtime delivers only the results of requests that began inside.
   */
  async refreshedWhileBlocking(): Promise<void> {
    if (!this.#copy.isUsable(this.#load)) await this.#copy.refreshed(this.#load, false);
  }

  /** @param ageMs The time since the settings were read from D1, in milliseconds. */
  set(effective: EffectiveSettings | null, ageMs = 0): void {
    this.#copy.set(effective, ageMs);
  }

  /** Stores the copy, and from now on each change. To be called once the channel is in use. */
  store(): void {
    if (this.#isStored) return;
    this.#isStored = true;
    if (this.lastKnown) this.#kv.put("settings", { holding: this.lastKnown.value });
  }

  #accepted(effective: EffectiveSettings | null): void {
    const json = JSON.stringify(effective);
    if (json === this.#json) return;
    this.#json = json;
    if (this.#isStored) this.#kv.put("settings", { holding: effective });
    this.#changed();
  }
}

/** Returns the copy in the object's storage. Settings that the storing version did not know get their defaults. */
function storedIn(kv: SyncKvStorage): { holding: EffectiveSettings | null } | undefined {
  const stored = kv.get<{ holding: EffectiveSettings | null }>("settings");
  if (!stored?.holding) return stored;
  return { holding: { ...stored.holding, settings: v.parse(StoredSettings, stored.holding.settings) } };
}
