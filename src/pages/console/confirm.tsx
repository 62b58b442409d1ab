import { useEffect, useId, useRef } from "preact/hooks";

interface Props {
  question: string;
  /** What comes of it. */
  consequence: string;
  /** What the button that does it says. */
  action: string;
  onConfirm: () => void;
  /** Called when it is closed, confirmed or not. */
  onClose: () => void;
}

/** Asks before something that cannot be taken back. Escape cancels. */
export function Confirm({ question, consequence, action, onConfirm, onClose }: Props) {
  const dialog = useRef<HTMLDialogElement>(null);
  const id = useId();
  useEffect(() => dialog.current?.showModal(), []);

  // Closed first, it gives the focus back to where it came from.
  function confirm() {
    dialog.current?.close();
    onConfirm();
  }

  return (
    <dialog ref={dialog} aria-labelledby={id} onClose={onClose}>
      <h2 id={id}>{question}</h2>
      <p>{consequence}</p>
      <div class="actions">
        <button type="button" autofocus onClick={() => dialog.current?.close()}>
          Cancel
        </button>
        <button type="button" class="danger" onClick={confirm}>
          {action}
        </button>
      </div>
    </dialog>
  );
}
