import { useState } from "preact/hooks";
import { Api, problemOf } from "./api.ts";
import { Text } from "./form.tsx";

interface Props {
  /** Why the user has to sign in again. */
  notice: string | undefined;
  onSignIn: (key: string) => void;
}

/** Asks for an API key and checks that the server accepts it. */
export function SignIn({ notice, onSignIn }: Props) {
  const [key, setKey] = useState("");
  const [error, setError] = useState(notice);
  const [busy, setBusy] = useState(false);

  async function submit(event: Event) {
    event.preventDefault();
    setBusy(true);
    setError(await refusalOf(key.trim()));
    setBusy(false);
  }

  async function refusalOf(entered: string): Promise<string | undefined> {
    if (!/^[\x21-\x7e]+$/.test(entered))
      return "An API key contains visible ASCII characters only: no spaces, no accents.";
    try {
      await new Api(entered, () => {}).get("/channels?limit=1");
      onSignIn(entered);
      return undefined;
    } catch (refused) {
      return problemOf(refused).detail;
    }
  }

  return (
    <main class="signin">
      <form aria-labelledby="signin" onSubmit={(event) => void submit(event)}>
        <img src="/icon.svg" alt="" width="48" height="48" />
        <h1 id="signin">Console</h1>
        <p class="hint">Enter one of the server's API keys. It is stored in this tab only.</p>
        <div role="alert">{error !== undefined && <p class="notice bad">{error}</p>}</div>
        <Text
          label="API key"
          hint="On your machine, npm start stores it in .dev.vars as API_KEYS."
          kind="secret"
          required
          autofocus
          value={key}
          onInput={setKey}
        />
        <button class="primary" disabled={busy}>
          Sign in
        </button>
      </form>
    </main>
  );
}
