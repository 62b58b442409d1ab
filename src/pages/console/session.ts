const KEY = "api-key";

/** Stores the API key for this tab only, until the tab is closed or the user signs out. */
export const session = {
  read: (): string | null => sessionStorage.getItem(KEY),
  begin: (key: string): void => sessionStorage.setItem(KEY, key),
  end: (): void => sessionStorage.removeItem(KEY),
};
