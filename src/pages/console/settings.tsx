import { useEffect, useState } from "preact/hooks";
import type { ChannelSettings } from "../../protocol/schemas.ts";
import { type Api, type NamedSettings, pathOf, type Problem, problemOf } from "./api.ts";
import { Confirm } from "./confirm.tsx";
import { useDatabases } from "./databases.ts";
import { Check, errorAt, Field, Refusal } from "./form.tsx";
import { hrefOf } from "./route.ts";

/** What holds where nothing is said (docs/permissions.md). */
const DEFAULTS: ChannelSettings = {
  active: true,
  description: "",
  anonymous_clients: false,
  presence: false,
  message_history: 0,
  public_messaging: { active: false, auth: false },
  private_messaging: { active: false, auth: false },
  nested_channels: false,
  auth_channel: false,
  database: null,
};

const HISTORY_SIZES = [0, 25, 50, 100, 250, 1000] as const;

/** The settings of a channel or pattern, to be read, set and deleted; without a name, of one to be entered. */
export function Settings({ api, channel }: { api: Api; channel?: string }) {
  const [stored, setStored] = useState<ChannelSettings | null>();
  const [problem, setProblem] = useState<Problem>();

  useEffect(() => {
    if (channel === undefined) return setStored(null);
    api.get<NamedSettings>(pathOf(channel)).then(
      ({ settings }) => setStored(settings),
      (refused: unknown) => (problemOf(refused).status === 404 ? setStored(null) : setProblem(problemOf(refused))),
    );
  }, [channel]);

  if (stored === undefined) return <Refusal problem={problem} />;
  return (
    <>
      {stored === null && channel !== undefined && (
        <p class="notice">Nothing is set for this name itself. Saving sets what is below.</p>
      )}
      <SettingsForm api={api} channel={channel} stored={stored} onStored={setStored} />
    </>
  );
}

interface FormProps {
  api: Api;
  channel: string | undefined;
  stored: ChannelSettings | null;
  onStored: (settings: ChannelSettings | null) => void;
}

function SettingsForm({ api, channel, stored, onStored }: FormProps) {
  const [name, setName] = useState(channel ?? "");
  const [settings, setSettings] = useState(stored ?? DEFAULTS);
  const [problem, setProblem] = useState<Problem>();
  const [done, setDone] = useState("");
  const [deleting, setDeleting] = useState(false);
  const databases = useDatabases(api);
  const set = (change: Partial<ChannelSettings>) => setSettings({ ...settings, ...change });

  async function attempt(act: () => Promise<string>) {
    setDone("");
    try {
      setDone(await act());
      setProblem(undefined);
    } catch (refused) {
      setProblem(problemOf(refused));
    }
  }

  const save = () =>
    attempt(async () => {
      const saved = await api.put<NamedSettings>(pathOf(name), settings);
      if (channel === undefined) location.hash = hrefOf(saved.channel, "settings");
      onStored(saved.settings);
      return "Saved. Open sockets have been told.";
    });

  const remove = () =>
    attempt(async () => {
      setDeleting(false);
      await api.delete(pathOf(name));
      onStored(null);
      setSettings(DEFAULTS);
      return "Deleted.";
    });

  return (
    <form
      class="settings"
      aria-label="Settings"
      onSubmit={(event) => {
        event.preventDefault();
        void save();
      }}
    >
      {channel === undefined && (
        <Field
          label="Channel or pattern"
          hint="room/42, or room/* for all below room, or * for all there are"
          error={errorAt(problem, "channel")}
        >
          {(control) => (
            <input {...control} required value={name} onInput={({ currentTarget }) => setName(currentTarget.value)} />
          )}
        </Field>
      )}
      <Field label="Description" error={errorAt(problem, "description")}>
        {(control) => (
          <input
            {...control}
            value={settings.description}
            onInput={({ currentTarget }) => set({ description: currentTarget.value })}
          />
        )}
      </Field>
      <Admission settings={settings} set={set} databases={databases} problem={problem} />
      <Visibility settings={settings} set={set} problem={problem} />
      <Messaging settings={settings} set={set} />
      <Refusal problem={problem} fields={["channel", "description", "database", "message_history"]} />
      <p role="status">{done !== "" && <span class="notice good">{done}</span>}</p>
      <div class="actions">
        <button class="primary">Save</button>
        {stored !== null && (
          <button type="button" class="danger" onClick={() => setDeleting(true)}>
            Delete
          </button>
        )}
      </div>
      {deleting && (
        <Confirm
          question={`Delete the settings of ${name}?`}
          consequence="Clients that nothing else admits are disconnected at once. Messages stay."
          action="Delete settings"
          onConfirm={() => void remove()}
          onCancel={() => setDeleting(false)}
        />
      )}
    </form>
  );
}

interface PartProps {
  settings: ChannelSettings;
  set: (change: Partial<ChannelSettings>) => void;
  problem?: Problem | undefined;
}

function Admission({ settings, set, databases, problem }: PartProps & { databases: string[] }) {
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
      <Field
        label="Auth database"
        hint="Whose users may authenticate on the channel."
        error={errorAt(problem, "database")}
      >
        {(control) => (
          <select
            {...control}
            value={database ?? ""}
            onChange={({ currentTarget }) => set({ database: currentTarget.value || null })}
          >
            <option value="">none</option>
            {offered.map((name) => (
              <option key={name} value={name}>
                {name}
              </option>
            ))}
          </select>
        )}
      </Field>
    </fieldset>
  );
}

function Visibility({ settings, set, problem }: PartProps) {
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
      <Field
        label="Message history"
        hint="How many of the latest messages a client gets on joining; with 0 clients read no history."
        error={errorAt(problem, "message_history")}
      >
        {(control) => (
          <select
            {...control}
            value={String(settings.message_history)}
            onChange={({ currentTarget }) =>
              set({ message_history: HISTORY_SIZES.find((size) => String(size) === currentTarget.value) ?? 0 })
            }
          >
            {HISTORY_SIZES.map((size) => (
              <option key={size} value={String(size)}>
                {size}
              </option>
            ))}
          </select>
        )}
      </Field>
    </fieldset>
  );
}

function Messaging({ settings, set }: PartProps) {
  const { public_messaging: everyone, private_messaging: each } = settings;
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
