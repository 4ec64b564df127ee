// A session is a cursor over a room's log. It keeps the position {seq, id} of the last message that it has
// handed on, and comes back to exactly that position on whatever replica answers next.

import { address, backoff, call, roomPath } from "./api.js";

const FIRST_PAGE = 50;
const JOIN_TIMEOUT_MS = 15_000;
/** A dead path says nothing: ask after so long without an event, sooner where an answer is due, and drop it then. */
const SILENCE_MS = 25_000;
const ANSWER_MS = 3_000;
const PONG_MS = 6_000;
/** The least wait after a close that asks for one, as API.md has it: not now, or sending too fast for too long. */
const PATIENCE_MS = { 1013: 10_000, 4429: 10_000 };
const WHY = { 1013: "The server has no room for now.", 4429: "You were sending too fast." };
/** Closes after which coming back on our own would only repeat the fault. */
const MISUNDERSTOOD = "The server did not understand this page";
const FINAL = { 1002: MISUNDERSTOOD, 1007: MISUNDERSTOOD, 4400: MISUNDERSTOOD, 4403: "This session may only read" };

export class Session {
  /** `on` has: state(name, detail, why), joined(event, from), messages(list), ack(event), refused(event), tooLarge(). */
  constructor(room, token, on) {
    this.room = room;
    this.token = token;
    this.on = on;
    this.cursor = null;
    this.failures = 0;
    this.ended = false;
    /** Nonces that this connection has not answered yet. */
    this.unanswered = new Set();
  }

  open() {
    if (this.ended || this.socket) return;
    clearTimeout(this.timer);
    this.on.state("connecting");
    const url = address(`${roomPath(this.room)}/ws`);
    url.protocol = url.protocol.replace("http", "ws");
    if (!this.cursor) url.searchParams.set("last", FIRST_PAGE);
    else {
      url.searchParams.set("after", this.cursor.seq);
      if (this.cursor.id) url.searchParams.set("id", this.cursor.id);
    }
    this.joined = false;
    this.leaveAfter = null;
    const socket = this.token ? new WebSocket(url, [this.token, "chat.v1"]) : new WebSocket(url);
    this.socket = socket;
    this.timer = setTimeout(() => this.drop(socket, 1006), JOIN_TIMEOUT_MS);
    socket.onmessage = (frame) => this.socket === socket && this.take(JSON.parse(frame.data));
    socket.onclose = (close) => this.closed(socket, close.code);
  }

  /** Sends one message; otherwise how long to wait, in ms, before the next try: for ever where nobody is connected. */
  send(message) {
    if (!this.joined || this.socket?.readyState !== WebSocket.OPEN) return Infinity;
    const wait = this.pace();
    if (wait > 0) return wait;
    this.socket.send(JSON.stringify(message));
    this.unanswered.add(message.nonce);
    if (this.unanswered.size === 1) this.watch();
    return 0;
  }

  /** Takes one message off the rate that `joined` gave: a bucket that will be full again at `fullAt`. */
  pace() {
    if (!this.rate) return 0;
    const [now, step] = [Date.now(), 1000 / this.rate.perSecond];
    const next = Math.max(this.fullAt, now) + step;
    const wait = next - now - this.rate.burst * step;
    if (wait <= 0) this.fullAt = next;
    return Math.max(0, wait);
  }

  /** Sees to it that the connection is asked for a sign of life in time. */
  watch() {
    clearTimeout(this.watchdog);
    const socket = this.socket;
    const ask = () => {
      if (socket.readyState === WebSocket.OPEN) socket.send('{"type":"ping"}');
      this.watchdog = setTimeout(() => this.drop(socket, 1006), PONG_MS);
    };
    this.watchdog = setTimeout(ask, this.unanswered.size ? ANSWER_MS : SILENCE_MS);
  }

  /** Ends for good; nothing is reported any more. */
  end() {
    this.ended = true;
    clearTimeout(this.timer);
    clearTimeout(this.watchdog);
    const socket = this.socket;
    this.socket = null;
    socket?.close(1000);
  }

  /** The network went away: the socket may not notice for minutes, so do not wait for it. */
  offline() {
    if (this.socket) this.drop(this.socket, 1006);
  }

  /** Try now instead of at the end of the wait. */
  now() {
    this.failures = 0;
    this.open();
  }

  take(events) {
    let messages = [];
    const handOn = () => {
      if (messages.length) this.on.messages(messages);
      messages = [];
    };
    for (const event of events) {
      if (event.type === "message") {
        if (event.seq <= this.cursor.seq) continue;
        if (event.seq !== this.cursor.seq + 1) {
          // The server promises no holes. If one shows all the same, ask again from what is certain.
          handOn();
          return this.drop(this.socket, 4000);
        }
        this.cursor = { seq: event.seq, id: event.id };
        messages.push(event);
        continue;
      }
      handOn();
      this.unanswered.delete(event.nonce);
      if (event.type === "joined") this.begin(event);
      else if (event.type === "ack") this.on.ack(event);
      else if (event.type === "error") this.on.refused(event);
      else if (event.type === "reconnect") this.leaveAfter = event.after;
    }
    handOn();
    if (this.socket) this.watch();
  }

  begin(event) {
    clearTimeout(this.timer);
    this.joined = true;
    [this.rate, this.fullAt] = [event.rate, 0];
    this.failures = 0;
    const from = this.cursor;
    if (!from || !event.recovered) this.cursor = { seq: event.seq, id: null };
    this.on.state("connected");
    this.on.joined(event, from);
  }

  drop(socket, code) {
    socket.onclose = null;
    socket.close();
    this.closed(socket, code);
  }

  async closed(socket, code) {
    if (this.socket !== socket) return;
    this.socket = null;
    clearTimeout(this.timer);
    clearTimeout(this.watchdog);
    this.unanswered.clear();
    const wasJoined = this.joined;
    this.joined = false;
    if (code === 1009) this.on.tooLarge();
    if (code === 4401) return this.stop("signed-out");
    if (FINAL[code]) return this.stop("stopped", FINAL[code]);

    let wait = PATIENCE_MS[code] ?? 0;
    let why = WHY[code];
    if (!wasJoined) {
      // A browser does not say why an upgrade was refused; the same question over HTTP does.
      this.on.state("connecting");
      const refusal = await this.askWhy();
      if (this.ended || this.socket) return;
      if (refusal === "INVALID_AUTH_TOKEN") return this.stop("signed-out");
      if (refusal === "BAD_ROOM") return this.stop("stopped", "A room cannot have this name");
      if (refusal === "BAD_ORIGIN") {
        return this.stop("stopped", `The server lets no page from ${location.origin} connect. Whoever runs it has to allow it`);
      }
      wait = Math.max(wait, refusal.retryAfter ?? 0);
      why = refusal.fault || why;
    }
    // A leaving replica has already spread its sessions out: its word goes before our own reckoning.
    wait = this.leaveAfter ?? wait + backoff(this.failures++);
    this.on.state(navigator.onLine ? "waiting" : "offline", Date.now() + wait, why);
    this.timer = setTimeout(() => this.open(), wait);
  }

  async askWhy() {
    try {
      if (this.token) await call("users/me", { token: this.token });
      await call(`${roomPath(this.room)}?limit=1`);
      // A GET of one's own has no origin, which is what a WebSocket is judged by.
      await call(`${roomPath(this.room)}/ws`, { method: "OPTIONS" });
      return {};
    } catch (refused) {
      return ["INVALID_AUTH_TOKEN", "BAD_ROOM", "BAD_ORIGIN"].includes(refused.type) ? refused.type : refused;
    }
  }

  stop(state, detail) {
    this.ended = true;
    this.on.state(state, detail);
  }
}
