import { create } from "../dom.ts";

/** Colours that a name may have; chat.css has them. */
const COLOURS = 6;

const CHARACTERS = new Intl.Segmenter();

/** A name's first character, in the name's colour; for the eye alone. */
export function avatarOf(name: string): HTMLElement {
  const [first] = CHARACTERS.segment(name);
  const avatar = create("span", `avatar colour-${colourOf(name)}`, first?.segment.toUpperCase());
  avatar.ariaHidden = "true";
  return avatar;
}

function colourOf(name: string): number {
  let sum = 0;
  for (let at = 0; at < name.length; at++) sum += name.charCodeAt(at);
  return sum % COLOURS;
}
