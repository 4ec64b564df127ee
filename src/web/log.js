// The messages on screen: a bounded window onto the room's log, always in its order. Everything a person wrote
// goes in through textContent, so that it stays text.

import { showName } from "./names.js";

const ROWS = 500;
/** One person's messages stand together as long as no pause is longer than this, and a clock's quarter of an hour lasts. */
const PAUSE_MS = 5 * 60_000;
const QUARTER_MS = 15 * 60_000;
const AT_END_PX = 48;
/** So near to an end of the window more is asked for. */
const NEAR_PX = 600;
const TONES = 8;

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const date = new Intl.DateTimeFormat(undefined, { weekday: "long", day: "numeric", month: "long", year: "numeric" });
const full = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "medium" });
const part = (id) => document.getElementById(id);

function stamp(element, when, format) {
  const time = new Date(when);
  if (Number.isNaN(time.getTime())) return;
  element.dateTime = time.toISOString();
  element.textContent = format.format(time);
  element.title = full.format(time);
}

function initial(name) {
  const [first] = new Intl.Segmenter(undefined, { granularity: "grapheme" }).segment(name);
  return (first?.segment ?? "?").toUpperCase();
}

/** One row, for a message of the log or (without a time) for one that is still being sent. */
export function row({ sender, text, createTime }, own) {
  const item = part("row").content.firstElementChild.cloneNode(true);
  item.classList.toggle("own", own);
  showName(item.querySelector(".name"), sender.username);
  item.querySelector(".text").textContent = text;
  const avatar = item.querySelector(".avatar");
  avatar.textContent = initial(sender.username);
  avatar.dataset.tone = item.querySelector(".name").dataset.tone = sender.id % TONES;
  if (createTime === undefined) item.querySelector(".at").remove();
  else {
    stamp(item.querySelector(".at"), createTime, clock);
    item.querySelector(".bubble").title = item.querySelector(".at").title;
    item.querySelector(".state").remove();
  }
  return item;
}

export class Log {
  constructor() {
    this.scroller = part("scroller");
    this.list = part("log");
    this.jump = part("jump");
    this.sticks = true;
    /** Where the last scroll ended, to tell up from down. */
    this.top = 0;
    /** Asked for what is not in the window: older(), newer(), newest(). */
    this.pages = null;
    this.scroller.addEventListener("scroll", () => this.scrolled(), { passive: true });
    this.jump.addEventListener("click", () => this.toEnd());
    // A taller composer, an opened keyboard or a turned phone must not push the last message out of sight.
    const watch = new ResizeObserver(() => this.sticks && this.rest());
    watch.observe(this.scroller);
    watch.observe(this.scroller.firstElementChild);
    this.clear(null);
  }

  clear(me) {
    this.me = me;
    this.messages = [];
    this.unseen = 0;
    /** True while the window no longer reaches the newest message: somebody has read far back. */
    this.detached = false;
    this.sticks = true;
    this.list.replaceChildren();
    this.update();
  }

  /** The seq of the oldest message in the window. */
  get oldest() {
    return this.messages[0]?.seq;
  }

  /** The seq of the newest message in the window. */
  get latest() {
    return this.messages.at(-1)?.seq;
  }

  /** The newest messages of the room, in place of what is in the window. */
  show(messages) {
    this.clear(this.me);
    this.append(messages);
  }

  /** Messages from somewhere in the room, whose last one is `head`, in place of what is in the window. */
  showFrom(messages, head) {
    this.clear(this.me);
    this.sticks = false;
    this.extend(messages, head);
    this.scroller.scrollTop = this.top = 0;
    // All of it may be in sight.
    this.scrolled();
  }

  /** Newer messages below a window that does not reach the newest. */
  extend(messages, head) {
    this.put(messages, this.messages.length);
    this.trim(this.messages.length - ROWS, "firstElementChild");
    this.detached = this.latest < head;
    this.update();
  }

  /** New messages of the room. */
  append(messages) {
    const full = this.messages.length + messages.length > ROWS;
    if (full && !this.sticks) this.detached = true;
    if (!this.sticks) this.unseen += messages.filter((message) => !this.isOwn(message)).length;
    if (!this.detached) {
      const kept = messages.slice(-ROWS);
      this.trim(this.messages.length + kept.length - ROWS, "firstElementChild");
      this.put(kept, this.messages.length);
    }
    this.update();
    if (this.sticks) this.rest();
  }

  prepend(messages) {
    const known = this.oldest ?? Infinity;
    const { scrollHeight, scrollTop } = this.scroller;
    this.put(messages.filter((message) => message.seq < known), 0);
    this.scroller.scrollTop = scrollTop + this.scroller.scrollHeight - scrollHeight;
    if (this.trim(this.messages.length - ROWS, "lastElementChild")) this.detached = true;
    this.update();
  }

  put(messages, at) {
    const fragment = document.createDocumentFragment();
    for (const message of messages) fragment.append(row(message, this.isOwn(message)));
    this.list.insertBefore(fragment, this.list.children[at] ?? null);
    this.messages.splice(at, 0, ...messages);
    for (let i = at; i <= at + messages.length; i += 1) this.group(i);
  }

  trim(count, end) {
    if (count <= 0) return false;
    const { scrollHeight, scrollTop } = this.scroller;
    for (let i = 0; i < count; i += 1) this.list[end]?.remove();
    if (end === "firstElementChild") {
      this.messages.splice(0, count);
      this.group(0);
      this.scroller.scrollTop = scrollTop + this.scroller.scrollHeight - scrollHeight;
    } else this.messages.length -= count;
    return true;
  }

  /** Decides whether row `i` begins a day, and whether it begins a group of one sender's. */
  group(i) {
    const item = this.list.children[i];
    if (!item) return;
    const [before, message] = [this.messages[i - 1], this.messages[i]];
    const day = item.querySelector(".day");
    const sameDay = before && new Date(before.createTime).toDateString() === new Date(message.createTime).toDateString();
    day.hidden = Boolean(sameDay);
    if (!sameDay) stamp(day.firstElementChild, message.createTime, date);
    const quarter = ({ createTime }) => Math.floor(createTime / QUARTER_MS);
    const near = sameDay && message.createTime - before.createTime < PAUSE_MS && quarter(before) === quarter(message);
    item.classList.toggle("start", !near || before.sender.id !== message.sender.id);
  }

  isOwn(message) {
    return message.sender.id === this.me;
  }

  scrolled() {
    const { scrollHeight, scrollTop, clientHeight } = this.scroller;
    // Only a person scrolls up. An event that is late, when the list has grown meanwhile, does not let go of the end.
    const [below, up] = [scrollHeight - scrollTop - clientHeight, scrollTop < this.top];
    if (below < AT_END_PX || up) this.sticks = below < AT_END_PX && !this.detached;
    this.top = scrollTop;
    if (this.sticks) this.unseen = 0;
    this.update();
    if (up && scrollTop < NEAR_PX) this.pages.older();
    else if (!up && below < NEAR_PX && this.detached) this.pages.newer();
  }

  rest() {
    this.scroller.scrollTop = this.scroller.scrollHeight;
  }

  toEnd() {
    const held = document.activeElement === this.jump;
    if (this.detached) this.pages.newest();
    this.sticks = true;
    this.unseen = 0;
    this.rest();
    this.update();
    if (held) this.scroller.focus();
  }

  update() {
    this.jump.hidden = this.sticks;
    const count = this.unseen === 1 ? "1 new message" : `${this.unseen} new messages`;
    this.jump.textContent = `${this.unseen ? count : "Newest messages"} ↓`;
  }
}
