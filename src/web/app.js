// The page: one room at a time, as a guest or with an account. This file joins the parts to each other.
//   session.js  the cursor over the room's log      log.js       the messages on screen
//   outbox.js   what is not known to be stored yet  composer.js  the box one writes in
//   account.js  who is here                         rooms.js     where one can go        api.js  the HTTP calls
//   names.js    names that could pass for others

import { account, accountForm, forget } from "./account.js";
import { call, roomPath } from "./api.js";
import { Composer, showPending } from "./composer.js";
import { Log } from "./log.js";
import { showName } from "./names.js";
import { Outbox } from "./outbox.js";
import { joinForm, roomInAddress, showRooms } from "./rooms.js";
import { Session } from "./session.js";

const PAGE = 50;
/** A wait that is worth a word. */
const NOTICEABLE_MS = 250;
const part = (id) => document.getElementById(id);

let room = null;
let me = null;
let session = null;
let outbox = null;
/** Whether this room was last told to be writable. */
let canWrite = false;
/** A guest who chose to read is not asked to log in again. */
let readsAsGuest = sessionStorage.getItem("chat.guest") === "yes";
let unread = 0;
let ticking;

const log = new Log({ older: loadOlder, newest: loadNewest });
const composer = new Composer((text) => {
  log.toEnd();
  outbox.add(text);
});
const form = accountForm(() => {
  readsAsGuest = false;
  enter({ focus: true });
});

// ---- where we are

function enter({ focus = false } = {}) {
  leave();
  room = roomInAddress();
  me = account();
  for (const id of ["room-name", "welcome-room"]) showName(part(id), room);
  if (!me && !readsAsGuest) return welcome();
  document.body.dataset.view = "chat";
  showRooms(room);
  part("who").hidden = part("sign-out").hidden = !me;
  part("sign-in").hidden = Boolean(me);
  showName(part("who-name"), me?.user.username ?? "");
  canWrite = Boolean(me);
  log.clear(me?.user.id);
  for (const id of ["skipped", "empty", "older"]) part(id).hidden = true;
  notice("");
  writable();

  const mine = `${me?.user.id ?? "guest"}:${room}`;
  composer.open(`chat.draft:${mine}`);
  const opened = new Session(room, me?.token, {
    state: (name, detail) => showState(name, detail),
    joined,
    messages: arrived,
    ack: (event) => outbox.acked(event, opened.cursor.seq),
    refused,
    tooLarge: () => outbox.tooLarge(),
  });
  session = opened;
  outbox = new Outbox(`chat.outbox:${mine}`, {
    send: (message) => opened.send(message),
    changed: drawPending,
    paced: (ms) => ms > NOTICEABLE_MS && notice("You are sending very fast. The rest follows.", 2_000),
  });
  drawPending();
  session.open();
  retitle();
  if (focus) (canWrite ? composer.text : part("scroller")).focus();
}

function leave() {
  session?.end();
  outbox?.close();
  clearInterval(ticking);
  unread = 0;
}

function welcome(problem = "") {
  leave();
  session = outbox = null;
  document.body.dataset.view = "welcome";
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
    outbox.settle();
    loadNewest();
  } else if (!from) ends();
  outbox.flush();
}

function arrived(messages) {
  log.append(messages);
  for (const message of messages) outbox.shown(message);
  ends();
  if (document.hidden) unread += messages.filter((message) => message.sender.id !== me?.user.id).length;
  retitle();
}

function refused(event) {
  const again = outbox.refused(event);
  const wait = Math.max(1, Math.ceil((event.retryAfter ?? 1000) / 1000));
  const why = event.error.type === "RATE_LIMITED" ? "You are sending very fast." : "The server is busy.";
  if (again) notice(`${why} Trying again in ${wait} s.`, event.retryAfter ?? 1000);
  else if (event.nonce === undefined) notice(`The server refused something: ${event.error.message}`, 10_000);
}

function showState(state, detail) {
  clearInterval(ticking);
  if (state !== "connected") outbox?.interrupted();
  if (state === "signed-out") {
    forget();
    return welcome("Your login has ended. Log in again: what you wrote is kept.");
  }
  const says = {
    connecting: session?.cursor ? "Reconnecting" : "Connecting",
    connected: canWrite ? "Connected" : "Connected, reading only",
    waiting: "Reconnecting",
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

// ---- pages of history

async function page(query) {
  const asked = session;
  try {
    const history = await call(`${roomPath(room)}?limit=${PAGE}${query}`, { token: me?.token });
    return session === asked ? history : null;
  } catch (refusal) {
    if (session === asked) notice(refusal.type === "OFFLINE" ? refusal.message : "History cannot be read now.", 6_000);
    return null;
  }
}

async function loadOlder() {
  const from = log.oldest ?? session.cursor.seq + 1;
  part("older").ariaDisabled = "true";
  const history = await page(`&before=${from}`);
  part("older").ariaDisabled = "false";
  if (!history) return;
  part("skipped").hidden = true;
  log.prepend(history.messages);
  ends(history.more);
  if (part("older").hidden) part("scroller").focus();
}

/** Shows the newest page in place of what is in the window: after a jump, or when a resume was not possible. */
async function loadNewest() {
  const upTo = session.cursor.seq;
  const history = await page(`&before=${upTo + 1}`);
  if (!history) return ends();
  // What came in meanwhile has gone past a detached window, but stands in an attached one: keep it, once.
  const since = log.detached ? null : log.messages.filter((message) => message.seq > upTo);
  log.clear(me?.user.id);
  log.append(history.messages);
  if (since) log.append(since);
  else if (session.cursor.seq > upTo) return loadNewest();
  ends();
}

function ends(more = true) {
  if (!session) return;
  const oldest = log.oldest ?? (session.cursor?.seq ?? 0) + 1;
  part("older").hidden = oldest <= 1 || !more;
  part("empty").hidden = oldest > 1 || log.messages.length > 0 || outbox.entries.length > 0;
}

// ---- what else the page shows

function drawPending() {
  if (!me) return;
  showPending(outbox, me.user, composer);
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
  part("main").inert = open;
  if (open) part("rooms").querySelector("a, input").focus();
  else if (back) part("menu").focus();
}

// ---- what a person does

joinForm(() => menu(false));
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
  forget();
  welcome();
});
part("just-read").addEventListener("click", () => {
  readsAsGuest = true;
  sessionStorage.setItem("chat.guest", "yes");
  enter({ focus: true });
});
part("retry").addEventListener("click", () => (session.ended ? enter({ focus: true }) : session.now()));
addEventListener("online", () => session?.now());
addEventListener("offline", () => session?.offline());
document.addEventListener("visibilitychange", () => {
  if (document.hidden) return;
  unread = 0;
  retitle();
});

enter();
