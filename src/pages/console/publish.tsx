import type { ComponentChildren } from "preact";
import { useRef, useState } from "preact/hooks";
import { utf8Length } from "../../protocol/json.ts";
import { MAX_BODY_BYTES } from "../../protocol/limits.ts";
import { type Api, type Problem, problemOf } from "./api.ts";
import { useDatabases } from "./databases.ts";
import { errorAt, Field, Refusal } from "./form.tsx";
import { type Mistake, mistakeIn } from "./json.ts";
import { type Options, NO_OPTIONS, PublishOptions } from "./publish-options.tsx";

type Mode = "json" | "text";
interface Place {
  seq: number;
  time: string;
}

const FIELDS = ["message", "database", "sender.id", "sender.database", "Idempotency-Key"];

/** Publishes a message, JSON or plain text, as an event of the server side. */
export function Publish({ api, channel }: { api: Api; channel: string }) {
  const [mode, setMode] = useState<Mode>("json");
  const [text, setText] = useState('{\n  "text": "Avengers, assemble!"\n}');
  const [options, setOptions] = useState<Options>(NO_OPTIONS);
  const [problem, setProblem] = useState<Problem>();
  const [place, setPlace] = useState<Place>();
  const [busy, setBusy] = useState(false);
  const databases = useDatabases(api);
  const mistake = mode === "json" ? mistakeIn(text) : undefined;
  const body = mistake ? "" : bodyOf(channel, mode === "json" ? text : JSON.stringify(text), options);

  async function publish() {
    setBusy(true);
    setPlace(undefined);
    setProblem(undefined);
    const headers: Record<string, string> = options.key === "" ? {} : { "Idempotency-Key": options.key };
    await api.post<Place>("/message", body, headers).then(setPlace, (refused: unknown) => {
      setProblem(problemOf(refused));
    });
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
          bytes={utf8Length(body)}
          onInput={setText}
        >
          <button class="primary" disabled={busy || mistake !== undefined || utf8Length(body) > MAX_BODY_BYTES}>
            Publish
          </button>
        </Editor>
        <Refusal problem={problem} fields={FIELDS} />
        <p role="status">
          {place && (
            <span class="notice good">
              Stored as #{place.seq}, {place.time}.
            </span>
          )}
        </p>
      </div>
      <PublishOptions options={options} onChange={setOptions} databases={databases} problem={problem} />
    </form>
  );
}

/** The JSON text as it was typed stays as it is; so numbers reach the server as they were written. */
function bodyOf(channel: string, message: string, { restrictedTo, senderDatabase, senderId }: Options): string {
  const id = /^\d+$/.test(senderId) ? Number(senderId) : senderId;
  const sender = senderDatabase === "" && senderId === "" ? undefined : { database: senderDatabase, id };
  const rest = JSON.stringify({ channel, database: restrictedTo === "" ? undefined : restrictedTo, sender });
  return `${rest.slice(0, -1)},"message":${message}}`;
}

interface EditorProps {
  text: string;
  isJson: boolean;
  mistake: Mistake | undefined;
  /** What the server found wrong with it. */
  refused: string | undefined;
  /** Of the whole body. */
  bytes: number;
  onInput: (text: string) => void;
  /** What is to be done with it. */
  children: ComponentChildren;
}

function Editor({ text, isJson, mistake, refused, bytes, onInput, children }: EditorProps) {
  const area = useRef<HTMLTextAreaElement>(null);

  function showMistake({ offset = 0 }: Mistake) {
    area.current?.focus();
    area.current?.setSelectionRange(offset, Math.min(offset + 1, text.length));
  }

  const isTooLarge = bytes > MAX_BODY_BYTES;
  return (
    <>
      <Field label="Message" hint={sizeOf(bytes)} error={isTooLarge ? sizeOf(bytes) : (refused ?? wordsFor(mistake))}>
        {(control) => (
          <textarea
            {...control}
            ref={area}
            class="code"
            rows={10}
            spellcheck={false}
            value={text}
            onInput={({ currentTarget }) => onInput(currentTarget.value)}
          />
        )}
      </Field>
      <div class="actions">
        {children}
        {isJson && (
          <button
            type="button"
            disabled={mistake !== undefined}
            onClick={() => onInput(JSON.stringify(JSON.parse(text), null, 2))}
          >
            Format
          </button>
        )}
        {mistake?.offset !== undefined && (
          <button type="button" onClick={() => showMistake(mistake)}>
            Go to the mistake
          </button>
        )}
      </div>
    </>
  );
}

function sizeOf(bytes: number): string {
  return `${bytes.toLocaleString()} of at most ${MAX_BODY_BYTES.toLocaleString()} bytes.`;
}

function wordsFor(mistake: Mistake | undefined): string | undefined {
  if (mistake === undefined) return undefined;
  return mistake.line === undefined
    ? mistake.reason
    : `Line ${mistake.line}, column ${mistake.column}: ${mistake.reason.toLowerCase()}.`;
}
