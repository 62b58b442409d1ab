import type { ChannelSettings } from "../../protocol/schemas.ts";
import type { Problem } from "./api.ts";
import { Check, errorAt, Select } from "./form.tsx";

const MIB = 1024 ** 2;
/** Quotas that the form offers, in bytes, by their labels. */
const QUOTAS = new Map([0, 1, 16, 64, 256, 1024].map((size) => [size === 0 ? "nothing" : `${size} MiB`, size * MIB]));

const HISTORY_SIZES = [0, 25, 50, 100, 250, 1000] as const;

interface PartProps {
  settings: ChannelSettings;
  set: (change: Partial<ChannelSettings>) => void;
  problem?: Problem | undefined;
}

/** Who may connect. */
export function Admission({ settings, set, databases, problem }: PartProps & { databases: string[] }) {
  const { database } = settings;
  const offered = database === null || databases.includes(database) ? databases : [database, ...databases];
  return (
    <fieldset>
      <legend>Who may connect</legend>
      <Check
        label="Active"
        hint="Off, the channel is closed to all but the server side."
        checked={settings.active}
        onChange={(active) => set({ active })}
      />
      <Check
        label="Anonymous clients"
        hint="Clients without credentials may connect."
        checked={settings.anonymous_clients}
        onChange={(anonymous_clients) => set({ anonymous_clients })}
      />
      <Check
        label="Nested channels"
        hint="These settings also hold for the channels below, where nothing nearer does."
        checked={settings.nested_channels}
        onChange={(nested_channels) => set({ nested_channels })}
      />
      <Select
        label="Auth database"
        hint="Whose users may authenticate on the channel."
        error={errorAt(problem, "database")}
        none="none"
        options={offered}
        value={database ?? ""}
        onChange={(name) => set({ database: name || null })}
      />
    </fieldset>
  );
}

/** What clients see. */
export function Visibility({ settings, set, problem }: PartProps) {
  return (
    <fieldset>
      <legend>What clients see</legend>
      <Check
        label="Presence"
        hint="Clients may see who is here."
        checked={settings.presence}
        onChange={(presence) => set({ presence })}
      />
      <Check
        label="Authenticated receivers only"
        hint="Others get no messages, no history and no presence."
        checked={settings.auth_channel}
        onChange={(auth_channel) => set({ auth_channel })}
      />
      <Select
        label="Message history"
        hint="How many of the latest messages a client gets on joining; with 0 clients read no history."
        error={errorAt(problem, "message_history")}
        options={HISTORY_SIZES.map(String)}
        value={String(settings.message_history)}
        onChange={(chosen) => set({ message_history: HISTORY_SIZES.find((size) => String(size) === chosen) ?? 0 })}
      />
    </fieldset>
  );
}

/** What clients send. */
export function Messaging({ settings, set, problem }: PartProps) {
  const { public_messaging: everyone, private_messaging: each, anonymous_bytes_per_day: quota } = settings;
  const quotas = new Map(QUOTAS);
  // One that was set by the API stays as it is.
  if (quota !== null && !quotas.values().some((bytes) => bytes === quota)) quotas.set(`${quota} bytes`, quota);
  return (
    <fieldset>
      <legend>What clients send</legend>
      <Check
        label="Messages to the channel"
        hint="Clients may send to everyone here."
        checked={everyone.active}
        onChange={(active) => set({ public_messaging: { ...everyone, active } })}
      />
      <Check
        label="… authenticated clients only"
        checked={everyone.auth}
        onChange={(auth) => set({ public_messaging: { ...everyone, auth } })}
      />
      <Select
        label="Daily anonymous quota"
        hint="How much anonymous clients may store per day (UTC), all together."
        error={errorAt(problem, "anonymous_bytes_per_day")}
        none="no limit"
        options={[...quotas.keys()]}
        value={[...quotas].find(([, bytes]) => bytes === quota)?.[0] ?? ""}
        onChange={(chosen) => set({ anonymous_bytes_per_day: quotas.get(chosen) ?? null })}
      />
      <Check
        label="Private messages"
        hint="Clients may send to each other; such messages are not stored."
        checked={each.active}
        onChange={(active) => set({ private_messaging: { ...each, active } })}
      />
      <Check
        label="… between authenticated clients"
        checked={each.auth}
        onChange={(auth) => set({ private_messaging: { ...each, auth } })}
      />
    </fieldset>
  );
}
