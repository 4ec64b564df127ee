// The page: one room at a time, as a guest or with an account. This file joins the parts to each other.
//   session.js  the cursor over the room's log      log.js       the messages on screen
//   outbox.js   what is not known to be stored yet  sender.js    how it gets there       composer.js  the box one writes in
//   account.js  who is here                         rooms.js     where one can go        api.js       the HTTP calls
//   names.js    names that could pass for others    storage.js   what the browser keeps  pages.js     other places of the log
//   spoken.js   what a screen reader says of it     guard.js     what is said where none of this runs

import { account, accountForm, elsewhere, forget, logOut } from "./account.js";
import { Composer, showPending } from "./composer.js";
import { Log } from "./log.js";
import { showName } from "./names.js";
import { Outbox } from "./outbox.js";
import { Pages, leapDialog } from "./pages.js";
import { joinForm, roomInAddress, showRooms } from "./rooms.js";
import { Sender } from "./sender.js";
import { Session } from "./session.js";
import { Spoken } from "./spoken.js";
import { forgets, onChange, ownedBy, tab } from "./storage.js";

/** A wait that is worth a word. */
const NOTICEABLE_MS = 250;
const part = (id) => document.getElementById(id);

let room = null;
let me = null;
let session = null;
/** What `me` has not sent yet, in any room, and who sends it; null for a guest. */
let outbox = null;
let sender = null;
/** The numbers of unsent messages that the rooms were last shown with. */
let counted = "";
/** Whether this room was last told to be writable. */
let canWrite = false;
/** A guest who chose to read is not asked to log in again. */
let readsAsGuest = tab.get("chat.guest") === true;
let unread = 0;
let ticking;
/** Why the room is not connected, where that is known: it stands there until it is. */
let why = "";

const log = new Log();
const pages = new Pages(log, { failed: historyFailed, changed: ends });
const spoken = new Spoken(part("spoken"));
const composer = new Composer((text) => {
  if (!outbox.add(room, text)) {
    notice("Too much is waiting to be sent. This stays here until there is room for it.", 10_000);
    return false;
  }
  log.toEnd();
  return true;
});
const form = accountForm(() => {
  readAsGuest(false);
  enter({ focus: true });
});

// ---- where we are

function enter({ focus = false } = {}) {
  leave();
  become(account());
  room = roomInAddress();
  if (!me && !readsAsGuest) return welcome();
  document.body.dataset.view = "chat";
  showName(part("room-name"), room);
  part("who").hidden = part("sign-out").hidden = !me;
  part("sign-in").hidden = Boolean(me);
  showName(part("who-name"), me?.user.username ?? "");
  canWrite = Boolean(me);
  log.clear(me?.user.id);
  for (const id of ["skipped", "empty", "older"]) part(id).hidden = true;
  notice("");
  writable();

  composer.open(me && `${ownedBy(me.user.id)}draft.${room}`);
  const opened = new Session(room, me?.token, {
    state: showState,
    joined,
    messages: arrived,
    ack: (event) => sender.acked(event),
    refused,
    tooLarge: () => sender.tooLarge(),
  });
  session = opened;
  pages.open(session);
  sender?.open(room, session);
  counted = null;
  drawUnsent();
  session.open();
  retitle();
  if (focus) (canWrite ? composer.text : part("scroller")).focus();
}

function leave() {
  session?.end();
  sender?.open(null, null);
  session = null;
  pages.open(null);
  spoken.clear();
  clearInterval(ticking);
  why = "";
  unread = 0;
}

/** Takes over the outbox of who is here now. */
function become(who) {
  if (who?.token !== me?.token || !who !== !outbox) {
    sender?.close();
    outbox?.close();
    outbox = who && new Outbox(who.user, unsentChanged);
    sender = who && new Sender(outbox, who.token, { paced, signedOut });
  }
  me = who;
}

/** Asks who is there. Nothing of who was there before is left on the page. */
function welcome(problem = "") {
  leave();
  become(null);
  document.body.dataset.view = "welcome";
  showName(part("welcome-room"), roomInAddress());
  part("leaving").close();
  log.clear(null);
  composer.open(null);
  for (const id of ["pending", "room-list", "elsewhere", "room-name", "who-name"]) part(id).replaceChildren();
  notice("");
  menu(false);
  retitle();
  form.say(problem);
  form.focus();
}

// ---- what the session says

function joined(event, from) {
  canWrite = event.canWrite;
  writable();
  if (!event.recovered) {
    log.clear(me?.user.id);
    part("skipped").hidden = false;
    outbox?.settle(room);
    pages.newest();
  } else if (!from) ends();
  sender?.reachable();
}

function arrived(messages) {
  log.append(messages);
  for (const message of messages) outbox?.shown(message);
  ends();
  spoken.add(messages.filter((message) => message.sender.id !== me?.user.id));
  if (document.hidden) unread += messages.filter((message) => message.sender.id !== me?.user.id).length;
  retitle();
}

function refused(event) {
  const again = sender?.refused(event);
  const wait = Math.max(1, Math.ceil((event.retryAfter ?? 1000) / 1000));
  const why = event.error.type === "RATE_LIMITED" ? "You are sending very fast." : "The server is busy.";
  if (again) notice(`${why} Trying again in ${wait} s.`, event.retryAfter ?? 1000);
  else if (event.nonce === undefined) notice(`The server refused something: ${event.error.message}`, 10_000);
}

function showState(state, detail, fault) {
  clearInterval(ticking);
  if (state === "waiting") why = fault ?? "";
  if (state === "connected") why = "";
  if (state !== "connected") sender?.interrupted();
  if (state === "signed-out") return signedOut();
  const says = {
    connecting: why ? `${why} Reconnecting` : session?.cursor ? "Reconnecting" : "Connecting",
    connected: canWrite ? "Connected" : "Connected, reading only",
    waiting: why ? `${why} Reconnecting` : "Reconnecting",
    offline: "Offline",
    stopped: `Disconnected: ${detail}`,
  };
  part("status").dataset.state = state;
  if (part("status-text").textContent !== says[state]) part("status-text").textContent = says[state];
  part("retry").hidden = !["waiting", "stopped"].includes(state);
  const count = () => {
    const left = Math.ceil((detail - Date.now()) / 1000);
    part("countdown").textContent = left > 0 ? ` in ${left} s` : "…";
  };
  part("countdown").textContent = state === "connecting" ? "…" : "";
  if (state === "waiting") {
    count();
    ticking = setInterval(count, 250);
  }
}

/** The token is good for nothing any more. Another tab may have got a new one. */
function signedOut() {
  forget(me);
  if (account()?.user.id === me.user.id) return enter();
  welcome("Your login has ended. Log in again: what you wrote is kept.");
}

function paced(ms) {
  if (ms > NOTICEABLE_MS) notice("You are sending very fast. The rest follows.", 2_000);
}

function historyFailed(refused) {
  notice(`${refused.fault || "History cannot be read now."} Scroll, or go there, again.`, 8_000);
}

function ends() {
  if (!session) return;
  const oldest = log.oldest ?? (session.cursor?.seq ?? 0) + 1;
  part("older").hidden = oldest <= 1 || !pages.more;
  part("empty").hidden = oldest > 1 || log.messages.length > 0 || part("pending").childElementCount > 0;
}

// ---- what else the page shows

function unsentChanged() {
  if (session) drawUnsent();
  sender.flush();
}

function drawUnsent() {
  showPending(outbox?.list(room) ?? [], outbox, me?.user, composer);
  const unsent = outbox?.unsent() ?? new Map();
  // The list is drawn anew only where it says something else, so that its links keep the focus.
  const counts = JSON.stringify([...unsent]);
  if (counts !== counted) showRooms(me, room, unsent);
  counted = counts;
  if (session?.cursor) ends();
}

function writable() {
  part("composer").hidden = part("hint").hidden = !canWrite;
  part("reading").hidden = Boolean(me);
}

let noticeTimer;
function notice(text, ms) {
  clearTimeout(noticeTimer);
  part("notice").hidden = !text;
  part("notice").textContent = text;
  if (text) noticeTimer = setTimeout(() => notice(""), ms);
}

function retitle() {
  const where = session ? `${room} · Chat` : "Chat";
  document.title = unread ? `(${unread}) ${where}` : where;
}

/** On a narrow screen the rooms are a drawer: while it is open, the rest is out of reach. */
function menu(open, back = false) {
  part("rooms").classList.toggle("open", open);
  part("menu").ariaExpanded = String(open);
  part("chat").inert = open;
  if (open) part("rooms").querySelector("a, input").focus();
  else if (back) part("menu").focus();
}

// ---- what a person does

joinForm(() => menu(false));
leapDialog(pages);
addEventListener("hashchange", () => {
  menu(false);
  if (roomInAddress() !== room || !session) enter({ focus: true });
});
part("room-list").addEventListener("click", ({ target }) => target.closest("a") && menu(false));
part("menu").addEventListener("click", () => menu(part("menu").ariaExpanded !== "true"));
addEventListener("keydown", ({ key }) => key === "Escape" && part("menu").ariaExpanded === "true" && menu(false, true));
addEventListener("click", ({ target }) => {
  if (part("menu").ariaExpanded === "true" && !target.closest("nav, #menu")) menu(false);
});
part("skip").addEventListener("click", () => {
  const here = session ? (canWrite ? composer.text : part("scroller")) : part("username");
  here.focus();
});
for (const id of ["sign-in", "reading-sign-in"]) part(id).addEventListener("click", () => welcome());
part("sign-out").addEventListener("click", () => {
  const lost = unsentInWords();
  if (!lost) return goOut();
  part("leaving-what").textContent = `Not sent yet: ${lost}. Logging out discards this, in all tabs.`;
  part("leaving").showModal();
});
part("stay").addEventListener("click", () => part("leaving").close());
part("leave").addEventListener("click", goOut);

/** What a person would miss after logging out, or "". */
function unsentInWords() {
  const messages = [...outbox.unsent().values()].reduce((sum, { count }) => sum + count, 0);
  const drafts = tab.keys(`${ownedBy(me.user.id)}draft.`).length;
  const count = (number, what) => (number ? [`${number} ${what}${number === 1 ? "" : "s"}`] : []);
  return [...count(messages, "message"), ...count(drafts, "draft")].join(" and ");
}

function goOut() {
  logOut(me);
  out("");
}

/** Who comes next begins in the lobby, not where the last one was. */
function out(why) {
  history.replaceState(null, "", location.pathname + location.search);
  welcome(why);
}

/** Looks whether another tab has ended what goes on here. */
function lookElsewhere() {
  part("forgetful").hidden = !forgets();
  const done = me && elsewhere(me);
  if (done === "logged out") out("You have logged out in another tab.");
  else if (done) out("Somebody else has logged in, in another tab of this browser. Log in again to write.");
}

function readAsGuest(reads) {
  readsAsGuest = reads;
  tab.set("chat.guest", reads);
}

part("just-read").addEventListener("click", () => {
  readAsGuest(true);
  enter({ focus: true });
});
part("retry").addEventListener("click", () => (session.ended ? enter({ focus: true }) : session.now()));
addEventListener("online", () => {
  session?.now();
  sender?.reachable();
});
addEventListener("offline", () => session?.offline());
onChange(lookElsewhere);
// A page that was put away has not heard of anything.
addEventListener("pageshow", lookElsewhere);
addEventListener("beforeunload", (event) => {
  if (forgets() && outbox?.unsent().size) event.preventDefault();
});
document.addEventListener("visibilitychange", () => {
  if (document.hidden) return;
  lookElsewhere();
  unread = 0;
  retitle();
});

enter();
