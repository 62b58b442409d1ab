import type { Problem } from "./api.ts";
import { errorAt, Field, Select, Text } from "./form.tsx";

/** The options of a publish. An empty text leaves an option out. */
export interface Options {
  /** The idempotency key. */
  key: string;
  /** Only users of this auth database receive the message. */
  restrictedTo: string;
  /** The user in whose name the message is published. */
  senderDatabase: string;
  senderId: string;
}

export const NO_OPTIONS: Options = { key: "", restrictedTo: "", senderDatabase: "", senderId: "" };

interface Props {
  options: Options;
  onChange: (options: Options) => void;
  databases: string[];
  problem: Problem | undefined;
}

export function PublishOptions({ options, onChange, databases, problem }: Props) {
  const set = (change: Partial<Options>) => onChange({ ...options, ...change });
  return (
    <fieldset>
      <legend>Options</legend>
      <Field
        label="Idempotency-Key"
        hint="Messages with the same key are stored only once."
        error={errorAt(problem, "Idempotency-Key")}
      >
        {(control) => (
          <span class="with-button">
            <input
              {...control}
              value={options.key}
              onInput={({ currentTarget }) => set({ key: currentTarget.value })}
            />
            <button type="button" onClick={() => set({ key: newKey() })}>
              New key
            </button>
          </span>
        )}
      </Field>
      <Select
        label="Only for users of"
        hint="It must be the channel's auth database."
        error={errorAt(problem, "database")}
        none="everybody"
        options={databases}
        value={options.restrictedTo}
        onChange={(restrictedTo) => set({ restrictedTo })}
      />
      <Select
        label="Sender's database"
        error={errorAt(problem, "sender.database")}
        none="no sender"
        options={databases}
        value={options.senderDatabase}
        onChange={(senderDatabase) => set({ senderDatabase })}
      />
      <Text
        label="Sender's id"
        hint="The user in whose name the message is published."
        error={errorAt(problem, "sender.id")}
        value={options.senderId}
        onInput={(senderId) => set({ senderId })}
      />
    </fieldset>
  );
}

/** Returns 128 random bits. `crypto.randomUUID` is missing on pages that were loaded over plain HTTP. */
const newKey = () => crypto.getRandomValues(new Uint32Array(4)).join("-");
