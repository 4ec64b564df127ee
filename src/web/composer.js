// The box one writes in, and what is on its way from there. A draft outlives a reload, a change of room and an
// expired token: it is kept until it has been sent or emptied.

import { row } from "./log.js";

const part = (id) => document.getElementById(id);

export class Composer {
  /** `sent(text)` takes a finished message over. */
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
      if (text.trim()) {
        sent(text);
        this.put("");
      }
      this.text.focus();
    });
  }

  open(key) {
    this.key = key;
    this.put(sessionStorage.getItem(key) ?? "");
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

  edited() {
    if (this.text.value) sessionStorage.setItem(this.key, this.text.value);
    else sessionStorage.removeItem(this.key);
    this.text.style.height = "auto";
    this.text.style.height = `${this.text.scrollHeight}px`;
    part("send").ariaDisabled = String(!this.text.value.trim());
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

/** Draws the outbox below the log. */
export function showPending(outbox, me, composer) {
  const rows = outbox.entries.map((entry) => {
    if (drawn.get(entry)?.dataset.state === entry.state) return drawn.get(entry);
    const item = row({ sender: me, text: entry.text }, true);
    drawn.set(entry, item);
    item.dataset.state = entry.state;
    const state = item.querySelector(".state");
    state.textContent = entry.reason && entry.state === "refused" ? `${entry.reason}. ` : SAYS[entry.state];
    if (entry.state === "refused") {
      const edit = () => {
        outbox.remove(entry);
        composer.giveBack(entry.text);
      };
      const discard = () => {
        outbox.remove(entry);
        composer.text.focus();
      };
      state.append(button("Edit", edit), button("Try again", () => outbox.retry(entry)), button("Discard", discard));
    }
    return item;
  });
  const list = part("pending");
  for (const item of [...list.children]) if (!rows.includes(item)) item.remove();
  rows.forEach((item, i) => list.children[i] !== item && list.insertBefore(item, list.children[i] ?? null));
}
