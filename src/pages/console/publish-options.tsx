import type { Problem } from "./api.ts";
import { errorAt, Field } from "./form.tsx";

/** What may go with a message. Empty texts leave it out. */
export interface Options {
  /** The idempotency key. */
  key: string;
  /** The auth database whose users alone are to see it. */
  restrictedTo: string;
  /** In whose name it is. */
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
        hint="The same key is the same message, however often it is sent."
        error={errorAt(problem, "Idempotency-Key")}
      >
        {(control) => (
          <span class="with-button">
            <input
              {...control}
              value={options.key}
              onInput={({ currentTarget }) => set({ key: currentTarget.value })}
            />
            <button type="button" onClick={() => set({ key: crypto.randomUUID() })}>
              New key
            </button>
          </span>
        )}
      </Field>
      <Field
        label="Only for users of"
        hint="It must be the channel's auth database."
        error={errorAt(problem, "database")}
      >
        {(control) => (
          <Database
            {...control}
            databases={databases}
            none="everybody"
            value={options.restrictedTo}
            onChange={(restrictedTo) => set({ restrictedTo })}
          />
        )}
      </Field>
      <Field label="Sender's database" error={errorAt(problem, "sender.database")}>
        {(control) => (
          <Database
            {...control}
            databases={databases}
            none="no sender"
            value={options.senderDatabase}
            onChange={(senderDatabase) => set({ senderDatabase })}
          />
        )}
      </Field>
      <Field label="Sender's id" hint="The user in whose name it is." error={errorAt(problem, "sender.id")}>
        {(control) => (
          <input
            {...control}
            value={options.senderId}
            onInput={({ currentTarget }) => set({ senderId: currentTarget.value })}
          />
        )}
      </Field>
    </fieldset>
  );
}

interface DatabaseProps {
  id: string;
  databases: string[];
  /** What choosing none means. */
  none: string;
  value: string;
  onChange: (database: string) => void;
}

function Database({ databases, none, value, onChange, ...control }: DatabaseProps) {
  return (
    <select {...control} value={value} onChange={({ currentTarget }) => onChange(currentTarget.value)}>
      <option value="">{none}</option>
      {databases.map((name) => (
        <option key={name}>{name}</option>
      ))}
    </select>
  );
}
