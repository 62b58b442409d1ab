import { useEffect, useState } from "preact/hooks";
import type { ChannelSettings } from "../../protocol/channel-settings.ts";
import { type Api, type NamedSettings, type Problem, problemOf } from "./api.ts";
import { Refusal, Text } from "./form.tsx";
import { hrefOf, isPattern } from "./route.ts";

interface ChannelList {
  channels: NamedSettings[];
  next: string | null;
}

const PAGE_CHANNELS = 50;

/** The channels that have settings, page by page, and a form that opens any other channel. */
export function Channels({ api }: { api: Api }) {
  const [listed, setListed] = useState<ChannelList>({ channels: [], next: `/channels?limit=${PAGE_CHANNELS}` });
  const [problem, setProblem] = useState<Problem>();
  const [loaded, setLoaded] = useState(false);

  async function more() {
    if (listed.next === null) return;
    try {
      const { channels, next } = await api.get<ChannelList>(listed.next);
      setListed({ channels: [...listed.channels, ...channels], next });
      setLoaded(true);
      setProblem(undefined);
    } catch (refused) {
      setProblem(problemOf(refused));
    }
  }
  useEffect(() => void more(), []);

  return (
    <>
      <div class="toolbar">
        <OpenChannel />
        <a class="button primary" href="#/new">
          New settings
        </a>
      </div>
      <Refusal problem={problem} />
      <ul class="list" aria-label="Channels with settings">
        {listed.channels.map(({ channel, settings }) => (
          <li key={channel}>
            <a href={hrefOf(channel, isPattern(channel) ? "settings" : "live")}>{channel}</a>
            <p>{settings.description}</p>
            <p class="badges">
              {summaryOf(settings).map((text) => (
                <span key={text} class="badge">
                  {text}
                </span>
              ))}
            </p>
          </li>
        ))}
      </ul>
      {loaded && listed.channels.length === 0 && (
        <p class="empty">No channel has settings yet. A channel without settings admits only API-key clients.</p>
      )}
      {loaded && listed.next !== null && (
        <button class="more" onClick={() => void more()}>
          More channels
        </button>
      )}
    </>
  );
}

/** Opens any channel by name. Channels need not be created first. */
function OpenChannel() {
  const [name, setName] = useState("");
  return (
    <form
      class="inline"
      aria-label="Open a channel"
      onSubmit={(event) => {
        event.preventDefault();
        location.hash = hrefOf(name.trim(), "live");
      }}
    >
      <Text label="Open any channel by name" placeholder="room/42" required value={name} onInput={setName} />
      <button>Open</button>
    </form>
  );
}

/** Returns a short summary of the settings: who may do what. */
function summaryOf(settings: ChannelSettings): string[] {
  const { public_messaging, private_messaging } = settings;
  const all: [boolean, string][] = [
    [!settings.active, "not active"],
    [settings.anonymous_clients, "anonymous clients"],
    [settings.database !== null, `users of ${settings.database}`],
    [settings.message_history > 0, `history ${settings.message_history}`],
    [settings.presence, "presence"],
    [public_messaging.active, public_messaging.auth ? "users send" : "clients send"],
    [private_messaging.active, private_messaging.auth ? "private between users" : "private messages"],
    [settings.auth_channel, "users receive"],
    [settings.nested_channels, "nested channels"],
  ];
  const given = all.filter(([holds]) => holds).map(([, text]) => text);
  return given.length > 0 ? given : ["API-key clients only"];
}
