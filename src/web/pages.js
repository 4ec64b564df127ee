// Pages of history around the window that log.js shows: older and newer ones by scrolling, the newest, and any place of
// the room in one step.

import { call, roomPath } from "./api.js";

const PAGE = 50;
/** After a leap: more than fits the tallest screen, so that there is something to scroll. */
const LEAP = 100;
/** After a failure scrolling asks for nothing for so long: it would ask again with every frame. */
const REST_MS = 2_000;
const part = (id) => document.getElementById(id);

export class Pages {
  /** `on` has: failed(refused), changed(). */
  constructor(log, on) {
    this.log = log;
    this.on = on;
    log.pages = this;
    /** Whether there are older ones than those that were read. */
    this.more = true;
    part("older").addEventListener("click", () => {
      this.restsUntil = 0;
      this.older();
    });
  }

  /** Goes on in the room of `session`; null: nowhere. */
  open(session) {
    this.session = session;
    /** What is being loaded, if anything: what comes back for something else is too late. */
    this.loading = null;
    this.more = true;
    this.restsUntil = 0;
    part("older").ariaDisabled = "false";
  }

  /** One page; null when it could not be had, or is not wanted any more. */
  async page(query, limit = PAGE) {
    const [asked, { room, token }] = [this.loading, this.session];
    try {
      const history = await call(`${roomPath(room)}?limit=${limit}${query}`, { token });
      return this.loading === asked ? history : null;
    } catch (refused) {
      if (this.loading === asked) this.on.failed(refused);
      this.restsUntil = Date.now() + Math.max(REST_MS, refused.retryAfter);
      return null;
    }
  }

  /** One at a time, since whoever scrolls asks often; a leap takes the place of what is under way. */
  async load(how, leaps = true) {
    if (!this.session?.cursor) return;
    if (!leaps && (this.loading || Date.now() < this.restsUntil)) return;
    const asked = {};
    this.loading = asked;
    part("older").ariaDisabled = "true";
    await how();
    if (this.loading !== asked) return;
    this.loading = null;
    part("older").ariaDisabled = "false";
    this.on.changed();
  }

  older() {
    if (this.log.oldest <= 1 || !this.more) return undefined;
    return this.load(async () => {
      const held = document.activeElement === part("older");
      const history = await this.page(`&before=${this.log.oldest ?? this.head + 1}`);
      if (!history) return;
      part("skipped").hidden = true;
      this.log.prepend(history.messages);
      this.more = history.more;
      if (held && (!this.more || this.log.oldest <= 1)) part("scroller").focus();
    }, false);
  }

  newer() {
    if (!this.log.detached) return undefined;
    return this.load(async () => {
      const history = await this.page(`&after=${this.log.latest}`);
      if (history) this.log.extend(this.known(history.messages), this.head);
    }, false);
  }

  /** Shows the newest page in place of what is in the window: after a jump, or when a resume was not possible. */
  newest() {
    const read = async () => {
      const upTo = this.head;
      const history = await this.page(`&before=${upTo + 1}`);
      if (!history) return undefined;
      // What came in meanwhile has gone past a detached window, but stands in an attached one: keep it, once.
      const since = this.log.detached ? null : this.log.messages.filter((message) => message.seq > upTo);
      this.more = history.more;
      this.log.show(history.messages);
      if (since) this.log.append(since);
      return since || this.head === upTo ? undefined : read();
    };
    return this.load(read);
  }

  /** Shows the room from the message `seq` on. */
  leap(seq) {
    if (!this.session?.cursor?.seq) return undefined;
    return this.load(async () => {
      const from = Math.min(seq, this.head);
      const history = await this.page(`&after=${Math.max(0, from - 1)}`, LEAP);
      if (!history) return;
      this.more = true;
      part("skipped").hidden = true;
      this.log.showFrom(this.known(history.messages), this.head);
      part("scroller").focus();
    });
  }

  /** Shows the room from the first message on that is not from before `time`. */
  async leapTo(time) {
    let [low, high] = [1, this.head];
    const asked = this.session;
    // Times rise with the numbers: halving finds the place with one message for each doubling of the room.
    await this.load(async () => {
      while (low < high) {
        const middle = Math.floor((low + high) / 2);
        const history = await this.page(`&after=${middle - 1}`, 1);
        if (!history?.messages.length) return;
        if (history.messages[0].createTime < time) low = middle + 1;
        else high = middle;
      }
    });
    if (this.session === asked && low >= high) await this.leap(low);
  }

  /** What the session has handed on already: the rest will come from there. */
  known(messages) {
    return messages.filter((message) => message.seq <= this.head);
  }

  get head() {
    return this.session.cursor.seq;
  }
}

/** The dialog that asks where to go. */
export function leapDialog(pages) {
  const [dialog, day] = [part("leap"), part("leap-day")];
  part("go-to").addEventListener("click", () => dialog.showModal());
  const close = (then) => () => {
    dialog.close();
    then();
  };
  part("to-beginning").addEventListener("click", close(() => pages.leap(1)));
  part("to-newest").addEventListener("click", close(() => pages.log.toEnd()));
  part("leap-stay").addEventListener("click", () => dialog.close());
  dialog.querySelector("form").addEventListener("submit", () => pages.leapTo(new Date(`${day.value}T00:00`).getTime()));
}
