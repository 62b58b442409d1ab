import { useRef, useState } from "preact/hooks";
import type { Message } from "../../../packages/client/src/client.ts";
import { type Api, type Problem, problemOf } from "./api.ts";
import { errorAt, Refusal, Text } from "./form.tsx";
import { FrameRow } from "./frame.tsx";
import { firstPath, follow, type Search } from "./search.ts";

const FIELDS = ["q", "since", "until"];

/** The channel's history, searched by text and time, the newest message first. */
export function History({ api, channel }: { api: Api; channel: string }) {
  const [search, setSearch] = useState<Search>({ text: "", since: "", until: "" });
  const [found, setFound] = useState<Message[]>();
  const [next, setNext] = useState<string | null>(null);
  const [state, setState] = useState("");
  const [problem, setProblem] = useState<Problem>();
  /** The current search. A newer search replaces it, and Stop clears it. */
  const running = useRef<object | undefined>(undefined);
  const set = (change: Partial<Search>) => setSearch({ ...search, ...change });

  async function run(path: string, before: Message[]) {
    const mine = (running.current = {});
    const all = [...before];
    setState("Searching …");
    setProblem(undefined);
    try {
      await follow(api, path, (now) => {
        if (running.current !== mine) return false;
        all.push(...now.found);
        setFound([...all]);
        setNext(now.next);
        setState(`Searching … back to #${now.searchedTo ?? 1}.`);
        return true;
      });
    } catch (refused) {
      setProblem(problemOf(refused));
    }
    if (running.current === mine) stop();
  }

  function stop() {
    running.current = undefined;
    setState("");
  }

  return (
    <>
      <form
        class="toolbar"
        aria-label="Search history"
        onSubmit={(event) => {
          event.preventDefault();
          setFound([]);
          void run(firstPath(channel, search), []);
        }}
      >
        <Text
          label="Text"
          hint="Anywhere in the payload's JSON."
          error={errorAt(problem, "q")}
          kind="search"
          value={search.text}
          onInput={(text) => set({ text })}
        />
        <Text
          label="Since"
          error={errorAt(problem, "since")}
          kind="time"
          value={search.since}
          onInput={(since) => set({ since })}
        />
        <Text
          label="Until"
          error={errorAt(problem, "until")}
          kind="time"
          value={search.until}
          onInput={(until) => set({ until })}
        />
        <button class="primary">Search</button>
      </form>
      <Refusal problem={problem} fields={FIELDS} />
      <p class="hint" role="status">
        {state === "" ? found && outcomeOf(found.length, next) : `${found?.length ?? 0} found. ${state}`}
      </p>
      <ol class="frames" aria-label="Messages, the newest first">
        {found?.map((message) => (
          <FrameRow key={message.options.seq} frame={message} />
        ))}
      </ol>
      {state !== "" && <button onClick={stop}>Stop</button>}
      {state === "" && next !== null && (
        <button class="more" onClick={() => void run(next, found ?? [])}>
          Older messages
        </button>
      )}
    </>
  );
}

function outcomeOf(count: number, next: string | null): string {
  const found = `${count} ${count === 1 ? "message" : "messages"}`;
  return next === null ? `${found}, no older ones.` : `${found}. Older messages have not been searched yet.`;
}
