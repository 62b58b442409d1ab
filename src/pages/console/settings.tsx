import { useEffect, useState } from "preact/hooks";
import { DEFAULT_ANONYMOUS_BYTES_PER_DAY } from "../../protocol/limits.ts";
import type { ChannelSettings } from "../../protocol/schemas.ts";
import { type Api, type NamedSettings, pathOf, type Problem, problemOf } from "./api.ts";
import { Confirm } from "./confirm.tsx";
import { useDatabases } from "./databases.ts";
import { errorAt, Refusal, Text } from "./form.tsx";
import { hrefOf } from "./route.ts";
import { Admission, Messaging, Visibility } from "./settings-fields.tsx";

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
  anonymous_bytes_per_day: DEFAULT_ANONYMOUS_BYTES_PER_DAY,
  database: null,
};

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
      return "Saved.";
    });

  const remove = () =>
    attempt(async () => {
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
        <Text
          label="Channel or pattern"
          hint="room/42, or room/* for all below room, or * for all there are"
          error={errorAt(problem, "channel")}
          required
          value={name}
          onInput={setName}
        />
      )}
      <Text
        label="Description"
        error={errorAt(problem, "description")}
        value={settings.description}
        onInput={(description) => set({ description })}
      />
      <Admission settings={settings} set={set} databases={databases} problem={problem} />
      <Visibility settings={settings} set={set} problem={problem} />
      <Messaging settings={settings} set={set} problem={problem} />
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
          onClose={() => setDeleting(false)}
        />
      )}
    </form>
  );
}
