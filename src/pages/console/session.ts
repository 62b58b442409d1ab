const KEY = "api-key";

/** The API key of this tab. It goes when the tab is closed, or on signing out, and is kept nowhere else. */
export const session = {
  read: (): string | null => sessionStorage.getItem(KEY),
  begin: (key: string): void => sessionStorage.setItem(KEY, key),
  end: (): void => sessionStorage.removeItem(KEY),
};
