import type { ComponentChildren } from "preact";
import { useRef } from "preact/hooks";
import { MAX_BODY_BYTES } from "../../protocol/limits.ts";
import { Field } from "./form.tsx";
import type { Mistake } from "./json.ts";

interface EditorProps {
  text: string;
  isJson: boolean;
  mistake: Mistake | undefined;
  /** Why the server refused the text. */
  refused: string | undefined;
  /** The size of the whole request body. */
  bytes: number;
  onInput: (text: string) => void;
  /** The buttons that use the text. */
  children: ComponentChildren;
}

/** A text editor that shows what is wrong with the text. */
export function Editor({ text, isJson, mistake, refused, bytes, onInput, children }: EditorProps) {
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
            Go to the error
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
