import type { Api } from "./api.ts";
import { type Connection, useConnection } from "./connection.ts";
import { History } from "./history.tsx";
import { Live } from "./live.tsx";
import { Page } from "./page.tsx";
import { Presence } from "./presence.tsx";
import { Publish } from "./publish.tsx";
import { hrefOf, isPattern, type Tab, TABS } from "./route.ts";
import { Settings } from "./settings.tsx";
import { Stats } from "./stats.tsx";

interface Props {
  channel: string;
  tab: Tab;
  api: Api;
  apiKey: string;
}

const STATUS: Record<Connection["status"], string> = {
  connecting: "Connecting …",
  online: "Online",
  offline: "Offline: reconnecting …",
  closed: "Closed",
};

/** The page of one channel. The page of a pattern shows only its settings. */
export function ChannelPage(props: Props) {
  if (!isPattern(props.channel)) return <OneChannel {...props} />;
  return (
    <Page title={props.channel} back>
      <Settings api={props.api} channel={props.channel} />
    </Page>
  );
}

/** All views stay mounted while another one is open, so received frames, search results and typed texts are kept. */
function OneChannel({ channel, tab, api, apiKey }: Props) {
  const connection = useConnection(channel, apiKey);
  const { status, error, total } = connection;
  return (
    <Page title={channel} back>
      <p class="status" role="status" data-status={status}>
        {STATUS[status]}
      </p>
      {error !== undefined && status !== "online" && <p class="notice bad">{error}</p>}
      <nav aria-label="Views of the channel">
        {TABS.map((one) => (
          <a key={one} href={hrefOf(channel, one)} aria-current={one === tab ? "page" : undefined}>
            {one[0]?.toUpperCase()}
            {one.slice(1)}
            {one === "presence" && total > 0 && <span class="badge">{total}</span>}
          </a>
        ))}
      </nav>
      <section hidden={tab !== "live"} aria-label="Live">
        <Live connection={connection} />
      </section>
      <section hidden={tab !== "presence"} aria-label="Presence">
        <Presence connection={connection} />
      </section>
      <section hidden={tab !== "history"} aria-label="History">
        <History api={api} channel={channel} />
      </section>
      <section hidden={tab !== "publish"} aria-label="Publish">
        <Publish api={api} channel={channel} />
      </section>
      <section hidden={tab !== "stats"} aria-label="Stats">
        <Stats api={api} channel={channel} shown={tab === "stats"} />
      </section>
      <section hidden={tab !== "settings"} aria-label="Settings">
        <Settings api={api} channel={channel} />
      </section>
    </Page>
  );
}
