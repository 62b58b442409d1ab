import { create } from "../dom.ts";

/** The number of colors for names, which chat.css defines. */
const COLORS = 6;

const CHARACTERS = new Intl.Segmenter();

/** Returns an avatar: the first character of a name on the name's color. Screen readers skip it. */
export function avatarOf(name: string): HTMLElement {
  const [first] = CHARACTERS.segment(name);
  const avatar = create("span", `avatar color-${colorOf(name)}`, first?.segment.toUpperCase());
  avatar.ariaHidden = "true";
  return avatar;
}

function colorOf(name: string): number {
  let sum = 0;
  for (let at = 0; at < name.length; at++) sum += name.charCodeAt(at);
  return sum % COLORS;
}
