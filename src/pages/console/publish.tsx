import { useState } from "preact/hooks";
import { MAX_BODY_BYTES } from "../../protocol/limits.ts";
import { type Api, type Problem, ProblemError, problemOf } from "./api.ts";
import { useDatabases } from "./databases.ts";
import { Editor } from "./editor.tsx";
import { errorAt, Refusal } from "./form.tsx";
import { mistakeIn } from "./json.ts";
import { type Options, NO_OPTIONS, PublishOptions } from "./publish-options.tsx";

type Mode = "json" | "text";
interface Position {
  seq: number;
  time: string;
}

const FIELDS = ["message", "database", "sender.id", "sender.database", "Idempotency-Key"];

/** Publishes a message, JSON or plain text, as an event. */
export function Publish({ api, channel }: { api: Api; channel: string }) {
  const [mode, setMode] = useState<Mode>("json");
  const [text, setText] = useState('{\n  "text": "Avengers, assemble!"\n}');
  const [options, setOptions] = useState<Options>(NO_OPTIONS);
  const [problem, setProblem] = useState<Problem>();
  const [position, setPosition] = useState<Position>();
  const [busy, setBusy] = useState(false);
  const databases = useDatabases(api);
  const mistake = mode === "json" ? mistakeIn(text) : undefined;
  const body = mistake ? "" : bodyOf(channel, mode === "json" ? text : JSON.stringify(text), options);
  const bytes = new TextEncoder().encode(body).length;

  async function publish() {
    setBusy(true);
    setPosition(undefined);
    setProblem(undefined);
    try {
      setPosition(await api.post<Position>("/message", body, headersOf(options)));
    } catch (refused) {
      setProblem(problemOf(refused));
    }
    setBusy(false);
  }

  return (
    <form
      class="publish"
      aria-label="Publish a message"
      onSubmit={(event) => {
        event.preventDefault();
        void publish();
      }}
    >
      <div class="editor">
        <fieldset class="modes">
          <legend>The message is</legend>
          {(["json", "text"] as const).map((one) => (
            <label key={one}>
              <input type="radio" name="mode" checked={mode === one} onChange={() => setMode(one)} />
              {one === "json" ? "JSON" : "plain text"}
            </label>
          ))}
        </fieldset>
        <Editor
          text={text}
          isJson={mode === "json"}
          mistake={mistake}
          refused={errorAt(problem, "message")}
          bytes={bytes}
          onInput={setText}
        >
          <button class="primary" disabled={busy || mistake !== undefined || bytes > MAX_BODY_BYTES}>
            Publish
          </button>
        </Editor>
        <Refusal problem={problem} fields={FIELDS} />
        <p role="status">
          {position && (
            <span class="notice good">
              Stored as #{position.seq}, {position.time}.
            </span>
          )}
        </p>
      </div>
      <PublishOptions options={options} onChange={setOptions} databases={databases} problem={problem} />
    </form>
  );
}

/** Returns the request's headers. Throws a ProblemError if the key has characters that the server does not accept (IDM1). */
function headersOf({ key }: Options): Record<string, string> {
  if (key === "") return {};
  if (/^[\x21-\x7e]+$/.test(key)) return { "Idempotency-Key": key };
  throw new ProblemError({
    status: 0,
    field: "Idempotency-Key",
    detail: "The Idempotency-Key may contain visible ASCII characters only: no spaces, no accents.",
  });
}

/** Returns the request's body. It contains the JSON as it was typed, so the server gets numbers exactly as written. */
function bodyOf(channel: string, message: string, { restrictedTo, senderDatabase, senderId }: Options): string {
  const id = /^\d+$/.test(senderId) ? Number(senderId) : senderId;
  const sender = senderDatabase === "" && senderId === "" ? undefined : { database: senderDatabase, id };
  const rest = JSON.stringify({ channel, database: restrictedTo === "" ? undefined : restrictedTo, sender });
  return `${rest.slice(0, -1)},"message":${message}}`;
}
