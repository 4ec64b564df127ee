// What one person has written, in any room, that is not yet known to be stored. An entry keeps its nonce through every
// retry, so that a message whose ack was lost is stored once, whichever tab sends it again. It is kept on the device
// under a key of its own, so that tabs do not write over each other's, until it is stored or discarded.

import { device, onChange, ownedBy, tab } from "./storage.js";

/** Past so many entries, or so many characters of theirs, nothing more is taken. */
const MOST = 200;
const MOST_CHARACTERS = 250_000;
/** For so long an entry is left to the tab that has written it: that one may have closed. */
const OWN_MS = 3_000;

/** The name by which this tab knows its own again after a reload. */
const TAB = "chat.tab";

function newNonce() {
  // crypto.randomUUID exists in secure contexts only; a page on http://192.168… must be able to send too.
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

export class Outbox {
  /** `heard()` is called after every change, once for those of one moment. */
  constructor(user, heard) {
    this.prefix = `${ownedBy(user.id)}outbox.`;
    this.heard = heard;
    this.tab = tab.get(TAB) ?? newNonce();
    tab.set(TAB, this.tab);
    /** nonce → {nonce, room, text, at, by, due, state}, state: waiting → sending → (stored, until it is shown); or refused, with a reason. */
    this.entries = new Map();
    this.off = onChange((key) => (key === null || key.startsWith(this.prefix)) && this.read());
    this.read();
  }

  /** Takes over what other tabs have added, removed, refused or released. */
  read() {
    const now = Date.now();
    const kept = new Map(device.keys(this.prefix).map((key) => [key.slice(this.prefix.length), device.get(key)]));
    let soonest = Infinity;
    for (const [nonce, value] of kept) {
      const { room, text, at, by, reason } = value ?? {};
      if (typeof room !== "string" || typeof text !== "string" || typeof at !== "number") continue;
      const due = by === this.tab ? 0 : Math.min(at, now) + OWN_MS;
      const entry = this.entries.get(nonce) ?? { nonce, room, text, at, by, due, state: "waiting" };
      this.entries.set(nonce, entry);
      if (reason && entry.state !== "stored") this.turn(entry, "refused", reason);
      else if (!reason && entry.state === "refused") this.turn(entry, "waiting");
      if (entry.due > now) soonest = Math.min(soonest, entry.due - now);
    }
    for (const entry of this.entries.values()) {
      if (entry.state !== "stored" && !kept.has(entry.nonce)) this.entries.delete(entry.nonce);
    }
    clearTimeout(this.timer);
    if (soonest < Infinity) this.timer = setTimeout(() => this.read(), soonest);
    this.changed();
  }

  changed() {
    if (this.telling) return;
    this.telling = true;
    queueMicrotask(() => {
      this.telling = false;
      this.heard();
    });
  }

  turn(entry, state, reason) {
    entry.state = state;
    entry.reason = reason;
    this.changed();
  }

  /** Answers false where there is no place for it. */
  add(room, text) {
    const all = [...this.entries.values()];
    const characters = all.reduce((sum, entry) => sum + entry.text.length, text.length);
    if (all.length >= MOST || characters > MOST_CHARACTERS) return false;
    // The order of writing is the order of these, even if somebody sets the clock back.
    const at = all.reduce((latest, entry) => Math.max(latest, entry.at + 1), Date.now());
    const entry = { nonce: newNonce(), room, text, at, by: this.tab, due: 0, state: "waiting" };
    this.entries.set(entry.nonce, entry);
    this.keep(entry);
    return true;
  }

  keep({ nonce, room, text, at, by, reason }) {
    device.set(this.prefix + nonce, { room, text, at, by, reason });
    this.changed();
  }

  sorted() {
    return [...this.entries.values()].sort((a, b) => a.at - b.at || (a.nonce < b.nonce ? -1 : 1));
  }

  /** Those of a room in the order of writing, without those that another tab is about to send. */
  list(room) {
    return this.sorted().filter((entry) => entry.room === room && entry.due <= Date.now());
  }

  /** room → {count, refused}: how many are not known to be stored, and of these how many need to be looked at. */
  unsent() {
    const rooms = new Map();
    for (const { room, state, due } of this.sorted()) {
      if (state === "stored" || due > Date.now()) continue;
      const { count, refused } = rooms.get(room) ?? { count: 0, refused: 0 };
      rooms.set(room, { count: count + 1, refused: refused + Number(state === "refused") });
    }
    return rooms;
  }

  /** What is to be sent next in one of the rooms that fit: nothing goes before what was written earlier is stored or refused. */
  next(fits) {
    const seen = new Set();
    for (const entry of this.sorted()) {
      if (seen.has(entry.room) || !fits(entry.room) || entry.state === "stored" || entry.state === "refused") continue;
      if (entry.state === "waiting" && entry.due <= Date.now()) return entry;
      seen.add(entry.room);
    }
    return undefined;
  }

  sending(entry) {
    this.turn(entry, "sending");
  }

  /** It was not taken, or nobody knows. */
  waiting(entry) {
    if (entry.state === "sending") this.turn(entry, "waiting");
  }

  /** Stored under `id`. It stays in sight until its message is. */
  stored(entry, id, isShown) {
    device.remove(this.prefix + entry.nonce);
    entry.id = id;
    this.turn(entry, "stored");
    if (isShown) this.entries.delete(entry.nonce);
  }

  /** A message came in: if it is one of ours, it is now on screen and need not be here. */
  shown(message) {
    for (const entry of this.entries.values()) {
      if (entry.state === "stored" && entry.id === message.id) this.remove(entry);
    }
  }

  /** A room's log is read anew, or not looked at any more: whatever is stored is on screen, or skipped. */
  settle(room) {
    for (const entry of this.list(room)) if (entry.state === "stored") this.remove(entry);
  }

  /** Refused for good, and kept to be edited, tried again or discarded. */
  refuse(entry, reason) {
    if (this.entries.get(entry.nonce) !== entry) return;
    this.turn(entry, "refused", reason);
    this.keep(entry);
  }

  retry(entry) {
    this.turn(entry, "waiting");
    this.keep(entry);
  }

  remove(entry) {
    this.entries.delete(entry.nonce);
    device.remove(this.prefix + entry.nonce);
    this.changed();
  }

  close() {
    this.off();
    clearTimeout(this.timer);
    this.entries.clear();
    this.heard = () => {};
  }
}
