import { useEffect, useId, useRef } from "preact/hooks";

interface Props {
  question: string;
  /** What will happen. */
  consequence: string;
  /** The label of the button that confirms. */
  action: string;
  onConfirm: () => void;
  /** Called when the dialog is closed, confirmed or not. */
  onClose: () => void;
}

/** Asks the user to confirm an action that cannot be undone. Escape cancels. */
export function Confirm({ question, consequence, action, onConfirm, onClose }: Props) {
  const dialog = useRef<HTMLDialogElement>(null);
  const id = useId();
  useEffect(() => dialog.current?.showModal(), []);

  // The dialog closes first, so that the focus returns to the element that opened it.
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
