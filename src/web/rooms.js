// The rooms on the left: those this browser has been in, and a way to any other. The room shown is the
// address's hash, so that a link to a room can be passed on and Back goes back.

import { showName } from "./names.js";
import { device, ownedBy, tab } from "./storage.js";

const KEPT = 30;
/** So many rooms with something unsent are named. */
const NAMED = 3;
const part = (id) => document.getElementById(id);

/** The list of one person, on the device; a guest's goes with the tab, since the next guest is somebody else. */
class Visited {
  constructor(me) {
    this.store = me ? device : tab;
    this.key = `${ownedBy(me?.user.id ?? "guest")}rooms`;
  }

  get names() {
    const names = this.store.get(this.key);
    return Array.isArray(names) ? names : ["lobby"];
  }

  keep(names) {
    this.store.set(this.key, names.slice(0, KEPT));
  }
}

/** The room that the address names; "lobby" when it names none that could exist. */
export function roomInAddress() {
  try {
    const name = decodeURIComponent(location.hash.slice(1)).normalize("NFC");
    return name && !fault(name) ? name : "lobby";
  } catch {
    return "lobby";
  }
}

export const roomHash = (name) => `#${encodeURIComponent(name)}`;

/** Why no room can have this name, or "". */
function fault(name) {
  if (!name) return "Type the name of a room.";
  if (/\p{Cc}/u.test(name)) return "A room's name has no control characters.";
  if (new TextEncoder().encode(name).length > 128) return "This name is too long.";
  // Browsers and proxies fold these away from an address, even percent-encoded.
  if (/^\/|\/$|(^|[/\\])\.\.?([/\\]|$)/.test(name)) return "A room's name has no dots alone and no slash at its ends.";
  return "";
}

function linkTo(name) {
  const link = document.createElement("a");
  link.href = roomHash(name);
  showName(link, name);
  link.dir = "auto";
  return link;
}

function entry(name, shown, unsent, remove) {
  const item = document.createElement("li");
  const link = linkTo(name);
  if (name === shown) link.ariaCurrent = "page";
  item.append(link);
  if (unsent) {
    const mark = document.createElement("span");
    mark.className = "unsent";
    mark.textContent = unsent.refused ? `${unsent.refused} refused` : `${unsent.count} unsent`;
    item.append(mark);
  }
  // What is unsent can be got at for as long as it is.
  if (name !== shown && !unsent) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "icon";
    button.textContent = "×";
    button.ariaLabel = `Remove ${name} from this list`;
    button.addEventListener("click", remove);
    item.append(button);
  }
  return item;
}

/** Lists the rooms of `me`, or of a guest. `unsent` has {count, refused} of those that have something unsent. */
export function showRooms(me, shown, unsent) {
  const visited = new Visited(me);
  if (!visited.names.includes(shown)) visited.keep([shown, ...visited.names]);
  const without = (name) => () => {
    visited.keep(visited.names.filter((other) => other !== name));
    showRooms(me, shown, unsent);
    part("join-name").focus();
  };
  const names = [...new Set([...visited.names, shown, ...unsent.keys()])];
  part("room-list").replaceChildren(...names.map((name) => entry(name, shown, unsent.get(name), without(name))));
  showElsewhere(shown, unsent);
}

/** Says what is unsent in rooms that are not shown: the list may be out of sight. */
function showElsewhere(shown, unsent) {
  const others = [...unsent].filter(([name]) => name !== shown);
  const named = others.slice(0, NAMED).flatMap(([name, { count, refused }], i) => {
    const of = refused && refused < count ? ` (${refused} refused)` : refused ? " (refused)" : "";
    return [`${i ? ", " : ""}${count} in `, linkTo(name), of];
  });
  const more = others.length > NAMED ? [` and in ${others.length - NAMED} more rooms`] : [];
  part("elsewhere").hidden = !others.length;
  part("elsewhere").replaceChildren("Not sent yet: ", ...named, ...more);
}

/** The form that goes to another room; `went()` is called when it did. */
export function joinForm(went) {
  const [form, input, problem] = ["join", "join-name", "join-error"].map(part);
  form.addEventListener("submit", (submit) => {
    submit.preventDefault();
    const name = input.value.trim().replace(/^#/, "").normalize("NFC");
    problem.textContent = fault(name);
    input.ariaInvalid = String(Boolean(problem.textContent));
    if (problem.textContent) return input.focus();
    input.value = "";
    location.hash = roomHash(name);
    went();
  });
}
