import { render } from "preact";
import { useMemo, useState } from "preact/hooks";
import { Api } from "./api.ts";
import { ChannelPage } from "./channel.tsx";
import { Channels } from "./channels.tsx";
import { Page } from "./page.tsx";
import { type Route, useRoute } from "./route.ts";
import { session } from "./session.ts";
import { Settings } from "./settings.tsx";
import { SignIn } from "./signin.tsx";

function App() {
  const [key, setKey] = useState(session.read);
  const [notice, setNotice] = useState<string>();
  const route = useRoute();

  function signIn(entered: string) {
    session.begin(entered);
    setKey(entered);
  }

  function signOut(why?: string) {
    session.end();
    setKey(null);
    setNotice(why);
  }

  const api = useMemo(() => new Api(key ?? "", () => signOut("This key is no longer valid.")), [key]);
  if (key === null) return <SignIn notice={notice} onSignIn={signIn} />;
  return (
    <>
      <header>
        <a class="brand" href="#/">
          <img src="/icon.svg" alt="" width="24" height="24" />
          durable-channels
        </a>
        <button class="quiet" onClick={() => signOut()}>
          Sign out
        </button>
      </header>
      <Content route={route} api={api} apiKey={key} />
    </>
  );
}

function Content({ route, api, apiKey }: { route: Route; api: Api; apiKey: string }) {
  if (route.page === "channel") {
    return <ChannelPage key={route.channel} channel={route.channel} tab={route.tab} api={api} apiKey={apiKey} />;
  }
  if (route.page === "new") {
    return (
      <Page key="new" title="New channel settings" back>
        <Settings api={api} />
      </Page>
    );
  }
  return (
    <Page key="channels" title="Channels">
      <Channels api={api} />
    </Page>
  );
}

const container = document.querySelector("#app");
if (container) render(<App />, container);
