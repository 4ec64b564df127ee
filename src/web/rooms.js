// The rooms on the left: those this browser has been in, and a way to any other. The room shown is the
// address's hash, so that a link to a room can be passed on and Back goes back.

import { showName } from "./names.js";

const KEY = "chat.rooms";
const KEPT = 30;
const part = (id) => document.getElementById(id);

const visited = () => JSON.parse(localStorage.getItem(KEY) ?? '["lobby"]');
const keep = (names) => localStorage.setItem(KEY, JSON.stringify(names.slice(0, KEPT)));

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

function entry(name, shown, redraw) {
  const item = document.createElement("li");
  const link = document.createElement("a");
  link.href = roomHash(name);
  showName(link, name);
  link.dir = "auto";
  if (name === shown) link.ariaCurrent = "page";
  item.append(link);
  if (name !== shown) {
    const remove = document.createElement("button");
    remove.type = "button";
    remove.className = "icon";
    remove.textContent = "×";
    remove.ariaLabel = `Remove ${name} from this list`;
    remove.addEventListener("click", () => {
      keep(visited().filter((other) => other !== name));
      redraw();
      part("join-name").focus();
    });
    item.append(remove);
  }
  return item;
}

export function showRooms(shown) {
  const names = visited();
  if (!names.includes(shown)) keep([shown, ...names]);
  part("room-list").replaceChildren(...visited().map((name) => entry(name, shown, () => showRooms(shown))));
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
