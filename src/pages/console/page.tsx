import type { ComponentChildren } from "preact";
import { useEffect, useRef } from "preact/hooks";

interface Props {
  title: string;
  /** Whether to show a link back to the list of channels. */
  back?: boolean;
  children: ComponentChildren;
}

/** A page of the console. Its heading gets the focus, so that keyboard and screen reader users start there. */
export function Page({ title, back = false, children }: Props) {
  const heading = useRef<HTMLHeadingElement>(null);
  useEffect(() => {
    document.title = `${title} · Console`;
    heading.current?.focus();
  }, [title]);
  return (
    <main>
      {back && (
        <a class="back" href="#/">
          ← Channels
        </a>
      )}
      <h1 ref={heading} tabIndex={-1}>
        {title}
      </h1>
      {children}
    </main>
  );
}
