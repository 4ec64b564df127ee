// What has been written but is not yet known to be stored. An entry keeps its nonce through every retry, so that
// a message whose ack was lost is stored once. Entries survive a reload: they are kept until acked or discarded.

/** How many entries may be unanswered at once; the rest wait their turn, in order. */
const WINDOW = 8;
const PASSING = new Set(["RATE_LIMITED", "OVERLOADED", "UNAVAILABLE"]);

function nonce() {
  // crypto.randomUUID exists in secure contexts only; a page on http://192.168… must be able to send too.
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

export class Outbox {
  /**
   * `send(message)` answers 0, or how many ms to wait because it could not; `changed()` is called after every change
   * of state, `paced(ms)` when the rest has to wait.
   */
  constructor(key, { send, changed, paced }) {
    this.key = key;
    this.send = send;
    this.changed = changed;
    this.paced = paced;
    /** state: waiting → sending → (stored, until its message is shown); or refused, with a reason. */
    this.entries = [];
    for (const { nonce, text } of JSON.parse(sessionStorage.getItem(key) ?? "[]")) {
      this.entries.push({ nonce, text, state: "waiting" });
    }
  }

  add(text) {
    this.entries.push({ nonce: nonce(), text, state: "waiting" });
    this.flush();
  }

  flush() {
    let room = WINDOW - this.entries.filter((entry) => entry.state === "sending").length;
    if (!this.held) {
      for (const entry of this.entries) {
        if (room <= 0) break;
        if (entry.state !== "waiting") continue;
        const wait = this.send({ text: entry.text, nonce: entry.nonce });
        if (wait > 0) {
          if (wait < Infinity) {
            this.hold(wait);
            this.paced(wait);
          }
          break;
        }
        entry.state = "sending";
        room -= 1;
      }
    }
    this.save();
  }

  /** The connection is gone: whatever was unanswered goes again, in order, with the same nonce. */
  interrupted() {
    for (const entry of this.entries) if (entry.state === "sending") entry.state = "waiting";
    this.save();
  }

  /** A frame was over the server's limit. The longest unanswered one is it, and must not go again. */
  tooLarge() {
    const sent = this.entries.filter((entry) => entry.state === "sending");
    const longest = sent.reduce((a, b) => (b.text.length > (a?.text.length ?? -1) ? b : a), null);
    if (longest) this.refuse(longest, "Too long to be sent");
  }

  acked(event, shownUpTo) {
    const entry = this.find(event.nonce);
    if (!entry) return;
    entry.state = "stored";
    entry.id = event.id;
    if (event.seq <= shownUpTo) this.remove(entry);
    this.flush();
  }

  /** A message came in: if it is one of ours, it is now on screen and need not be here. */
  shown(message) {
    const entry = this.entries.find((entry) => entry.state === "stored" && entry.id === message.id);
    if (entry) this.remove(entry);
  }

  /** The log was read anew, so whatever is stored is on screen or skipped. */
  settle() {
    this.entries = this.entries.filter((entry) => entry.state !== "stored");
    this.save();
  }

  /** The server refused a command. Answers true when it will be tried again by itself. */
  refused(event) {
    const entry = this.find(event.nonce);
    const passing = PASSING.has(event.error.type);
    if (entry && passing) {
      entry.state = "waiting";
      this.hold(event.retryAfter ?? 1000);
    } else if (entry) {
      this.refuse(entry, event.error.type === "TEXT_TOO_LONG" ? "Too long to be sent" : "The server refused this");
      this.flush();
    }
    return passing;
  }

  hold(ms) {
    clearTimeout(this.held);
    this.held = setTimeout(() => {
      this.held = null;
      this.flush();
    }, ms);
    this.save();
  }

  refuse(entry, reason) {
    entry.state = "refused";
    entry.reason = reason;
    this.save();
  }

  retry(entry) {
    entry.state = "waiting";
    this.flush();
  }

  remove(entry) {
    this.entries = this.entries.filter((other) => other !== entry);
    this.save();
  }

  find(nonce) {
    return nonce === undefined ? undefined : this.entries.find((entry) => entry.nonce === nonce);
  }

  save() {
    const kept = this.entries.filter((entry) => entry.state !== "stored");
    if (kept.length) sessionStorage.setItem(this.key, JSON.stringify(kept.map(({ nonce, text }) => ({ nonce, text }))));
    else sessionStorage.removeItem(this.key);
    this.changed();
  }

  close() {
    clearTimeout(this.held);
    this.send = () => Infinity;
    this.changed = () => {};
  }
}
