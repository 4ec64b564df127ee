// The box one writes in, and what is on its way from there. A draft outlives a reload, a change of room and an
// expired token: it is kept until it has been sent or emptied.

import { row } from "./log.js";
import { TOO_LONG } from "./sender.js";
import { tab } from "./storage.js";

const part = (id) => document.getElementById(id);

export class Composer {
  /** `sent(text)` takes a finished message over, or answers false: then it stays here. */
  constructor(sent) {
    this.text = part("text");
    this.text.addEventListener("input", () => this.edited());
    this.text.addEventListener("keydown", (key) => {
      // isComposing: Enter that ends an input method's composition is not ours.
      if (key.key !== "Enter" || key.shiftKey || key.isComposing) return;
      key.preventDefault();
      part("composer").requestSubmit();
    });
    part("composer").addEventListener("submit", (submit) => {
      submit.preventDefault();
      const text = this.text.value;
      if (text.trim() && this.excess() <= 0 && sent(text)) this.put("");
      this.text.focus();
    });
  }

  /** Goes on with the draft that is kept under `key`; null: nobody writes here. */
  open(key) {
    this.key = key;
    this.put((key && tab.get(key)) ?? "");
  }

  put(text) {
    this.text.value = text;
    this.edited();
  }

  /** Gives a refused message back for editing, in front of what has been begun since. */
  giveBack(text) {
    this.put(this.text.value ? `${text}\n${this.text.value}` : text);
    this.text.focus();
  }

  /** By how many bytes the text is longer than the server takes; the server says so with the page. */
  excess() {
    return new TextEncoder().encode(this.text.value).length - (Number(this.text.dataset.maxBytes) || Infinity);
  }

  /** Says that it is too long once, and by how much for the eyes alone: that changes with every letter. */
  measure() {
    const [excess, says] = [this.excess(), part("too-long")];
    this.text.ariaInvalid = String(excess > 0);
    if (excess <= 0) return says.replaceChildren();
    if (!says.firstElementChild) {
      const count = document.createElement("span");
      count.ariaHidden = "true";
      says.replaceChildren(TOO_LONG, count);
    }
    const bytes = excess === 1 ? "1 byte" : `${excess} bytes`;
    says.firstElementChild.textContent = `: ${bytes} too long, of at most ${this.text.dataset.maxBytes}`;
  }

  edited() {
    if (this.key && this.text.value) tab.set(this.key, this.text.value);
    else if (this.key) tab.remove(this.key);
    this.text.style.height = "auto";
    this.text.style.height = `${this.text.scrollHeight}px`;
    this.measure();
    part("send").ariaDisabled = String(!this.text.value.trim() || this.excess() > 0);
  }
}

const SAYS = { waiting: "Waiting to be sent", sending: "Sending…", stored: "Sent" };

function button(label, action) {
  const element = document.createElement("button");
  element.type = "button";
  element.className = "link";
  element.textContent = label;
  element.addEventListener("click", action);
  return element;
}

/** The rows drawn, by entry: one is drawn anew only when its state changes, so that its buttons keep the focus. */
const drawn = new WeakMap();

/** Draws some entries of the outbox below the log. */
export function showPending(entries, outbox, me, composer) {
  const rows = entries.map((entry) => {
    if (drawn.get(entry)?.dataset.state === entry.state) return drawn.get(entry);
    const item = row({ sender: me, text: entry.text }, true);
    drawn.set(entry, item);
    item.dataset.state = entry.state;
    const state = item.querySelector(".state");
    const says = document.createElement("span");
    says.className = "says";
    says.textContent = entry.reason && entry.state === "refused" ? `${entry.reason}. ` : SAYS[entry.state];
    state.replaceChildren(says);
    const edit = () => {
      outbox.remove(entry);
      composer.giveBack(entry.text);
    };
    const discard = () => {
      outbox.remove(entry);
      composer.text.focus();
    };
    const refused = entry.state === "refused";
    if (refused) state.append(button("Edit", edit));
    // What is too long stays so.
    if (refused && entry.reason !== TOO_LONG) state.append(button("Try again", () => outbox.retry(entry)));
    if (refused || entry.state === "waiting") state.append(button("Discard", discard));
    return item;
  });
  const list = part("pending");
  for (const item of [...list.children]) if (!rows.includes(item)) item.remove();
  rows.forEach((item, i) => list.children[i] !== item && list.insertBefore(item, list.children[i] ?? null));
}
