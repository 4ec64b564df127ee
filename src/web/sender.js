// Sends the outbox: each room's messages in the order of writing, the next when the last is stored, so that none
// overtakes one that was lost on the way or put off. The open room's go through its session, those of others by POST.

import { backoff, call, roomPath } from "./api.js";

/** Between two messages by POST, at least. */
const PAUSE_MS = 100;
/** So often a message is sent that the server fails at, or something before it refuses. */
const TRIES = 3;
/** What a session may refuse for the moment. */
const PASSING = new Set(["RATE_LIMITED", "OVERLOADED", "UNAVAILABLE"]);
export const TOO_LONG = "Too long to be sent";
const SAYS = {
  TEXT_TOO_LONG: TOO_LONG,
  TOO_LARGE: TOO_LONG,
  NOT_AUTHORIZED: "You may not write here",
  BAD_ROOM: "A room cannot have this name",
  INTERNAL: "The server failed at this",
  STRANGE: "Something on the way to the server refused this",
};
const reasonFor = (type) => SAYS[type] ?? "The server refused this";

export class Sender {
  /** `on` has: paced(ms), when the rest has to wait; signedOut(). */
  constructor(outbox, token, on) {
    this.outbox = outbox;
    this.token = token;
    this.on = on;
    this.failures = 0;
    /** The rooms that failed at last: the others have their turn first. */
    this.failing = new Set();
    /** The timers of what has to wait, by way: "session" or "post". */
    this.held = new Map();
  }

  /** From now on `session` has this room's messages; null: no room is open. */
  open(room, session) {
    this.interrupted();
    if (this.session) this.outbox.settle(this.room);
    [this.room, this.session] = [room, session];
    this.release("session");
    this.flush();
  }

  flush() {
    if (this.closed) return;
    if (!this.held.has("session")) this.bySession();
    if (!this.held.has("post") && !this.posting) this.byPost();
  }

  bySession() {
    const entry = this.session && this.outbox.next((room) => room === this.room);
    const wait = entry ? this.session.send({ text: entry.text, nonce: entry.nonce }) : Infinity;
    if (wait === 0) this.outbox.sending(entry);
    else if (wait < Infinity) {
      this.hold("session", wait);
      this.on.paced(wait);
    }
  }

  async byPost() {
    const entry = this.nextByPost();
    if (!entry) return;
    this.posting = true;
    this.outbox.sending(entry);
    let wait = PAUSE_MS;
    try {
      const body = { text: entry.text, nonce: entry.nonce };
      const { id, seq } = await call(roomPath(entry.room), { token: this.token, body });
      if (this.closed) return;
      this.failures = 0;
      this.outbox.stored(entry, id, !this.session || entry.room !== this.room || seq <= this.session.cursor?.seq);
    } catch (refusal) {
      if (this.closed) return;
      wait += this.failed(entry, refusal);
    }
    this.posting = false;
    this.hold("post", wait);
  }

  nextByPost() {
    const others = (room) => !this.session || room !== this.room;
    const entry = this.outbox.next((room) => others(room) && !this.failing.has(room));
    if (entry) return entry;
    this.failing.clear();
    return this.outbox.next(others);
  }

  /** How long to wait after a refusal of a POST. */
  failed(entry, { type, status, retryAfter = 0 }) {
    if (type === "INVALID_AUTH_TOKEN") {
      this.outbox.waiting(entry);
      this.on.signedOut();
      return 0;
    }
    if (!this.mayPass(entry, type, status)) {
      this.outbox.refuse(entry, reasonFor(type));
      return 0;
    }
    this.failing.add(entry.room);
    this.outbox.waiting(entry);
    return Math.max(retryAfter, backoff(this.failures++));
  }

  /** Whether to send again: who was away may come back, what fails is tried a few times more. */
  mayPass(entry, type, status) {
    if (!status) return true;
    const fails = type === "INTERNAL" || (type === "STRANGE" && status < 500);
    if (!fails) return status === 429 || status >= 500;
    entry.tries = (entry.tries ?? 0) + 1;
    return entry.tries < TRIES;
  }

  hold(way, ms) {
    this.release(way);
    const over = () => {
      this.held.delete(way);
      this.flush();
    };
    this.held.set(way, setTimeout(over, ms));
  }

  release(way) {
    clearTimeout(this.held.get(way));
    this.held.delete(way);
  }

  /** The server is there (again). */
  reachable() {
    this.failures = 0;
    this.release("post");
    this.flush();
  }

  // ---- what the session says

  /** The connection is gone: whatever was unanswered goes again. */
  interrupted() {
    for (const entry of this.sent()) this.outbox.waiting(entry);
  }

  acked(event) {
    const entry = this.outbox.entries.get(event.nonce);
    if (entry) this.outbox.stored(entry, event.id, event.seq <= this.session.cursor.seq);
  }

  /** A command was refused. Answers true when it will be sent again by itself. */
  refused(event) {
    const entry = this.outbox.entries.get(event.nonce);
    const passing = PASSING.has(event.error.type);
    if (entry && passing) {
      this.outbox.waiting(entry);
      this.hold("session", event.retryAfter ?? 1000);
    } else if (entry) this.outbox.refuse(entry, reasonFor(event.error.type));
    return passing;
  }

  /** The frame was over the server's limit, and must not go again. */
  tooLarge() {
    for (const entry of this.sent()) this.outbox.refuse(entry, TOO_LONG);
  }

  sent() {
    return this.session ? this.outbox.list(this.room).filter((entry) => entry.state === "sending") : [];
  }

  close() {
    this.closed = true;
    for (const way of ["session", "post"]) this.release(way);
  }
}
