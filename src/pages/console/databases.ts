import { useEffect, useState } from "preact/hooks";
import type { Api } from "./api.ts";

interface DatabaseList {
  databases: { database: string }[];
  next: string | null;
}

/** Returns the names of the auth databases. Returns none until they are loaded, or if the request fails. */
export function useDatabases(api: Api): string[] {
  const [names, setNames] = useState<string[]>([]);
  useEffect(() => {
    namesOf(api).then(setNames, () => {});
  }, [api]);
  return names;
}

async function namesOf(api: Api): Promise<string[]> {
  const names: string[] = [];
  for (let next: string | null = "/databases?limit=1000"; next !== null;) {
    const page: DatabaseList = await api.get(next);
    names.push(...page.databases.map(({ database }) => database));
    next = page.next;
  }
  return names;
}
