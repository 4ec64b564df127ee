// Who is here: the token, where it is kept, and the form that gets one.

import { call } from "./api.js";
import { device, ownedBy, tab } from "./storage.js";

const KEY = "chat.account";
/** The id of who is logged in with this browser, 0 when that one has logged out: a tab's token is good for nobody else. */
const WHO = "chat.who";
/** Set once somebody has been logged in with this browser: the form then opens on "Log in". */
const KNOWN = "chat.known";
const part = (id) => document.getElementById(id);

const SAID = {
  USER_NOT_FOUND: "Nobody has signed up with this name.",
  PASSWORD_MATCH_FAILED: "Name and password do not match.",
  USER_EXISTS: "This name is taken already. Choose another, or log in.",
  BAD_PASSWORD: "This password cannot be used. Try one of another length.",
  BAD_BINDING: "This name cannot be used. Up to 64 characters, without special ones.",
};

/** {token, user: {id, username}}, or null for a guest. */
export function account() {
  const kept = tab.get(KEY) ?? device.get(KEY);
  return kept?.user && !elsewhere(kept) ? kept : null;
}

/** Forgets a token that is good for nothing; one that has taken its place stays. */
export function forget({ token }) {
  for (const store of [tab, device]) if (store.get(KEY)?.token === token) store.remove(KEY);
}

/** Logs out of every tab of this browser, and leaves nothing of this person's in it. */
export function logOut(me) {
  device.set(WHO, 0);
  forget(me);
  for (const store of [tab, device]) store.clear(ownedBy(me.user.id));
}

/** What another tab has done to who is `me` in this one: "logged out", "somebody else", or "" for nothing. */
export function elsewhere(me) {
  const who = device.get(WHO) ?? me.user.id;
  if (who === me.user.id) return "";
  forget(me);
  if (who) return "somebody else";
  tab.clear(ownedBy(me.user.id));
  return "logged out";
}

function logIn(got, stays) {
  for (const store of [tab, device]) store.remove(KEY);
  (stays ? device : tab).set(KEY, got);
  device.set(WHO, got.user.id);
  device.set(KNOWN, true);
}

function seconds(ms) {
  const count = Math.max(1, Math.ceil(ms / 1000));
  return count === 1 ? "a second" : `${count} seconds`;
}

/** Runs the form; calls `entered()` once there is an account. */
export function accountForm(entered) {
  const form = part("account");
  const [name, secret, problem, enter] = ["username", "secret", "account-error", "enter"].map(part);
  const signingUp = () => form.elements.mode.value === "sign-up";

  function say(text, field) {
    problem.textContent = text;
    for (const input of [name, secret]) input.ariaInvalid = String(input === field);
    field?.focus();
  }

  function mode() {
    enter.textContent = signingUp() ? "Sign up" : "Log in";
    secret.autocomplete = signingUp() ? "new-password" : "current-password";
    say("");
  }

  function mask(masked) {
    secret.type = masked ? "password" : "text";
    part("reveal").ariaPressed = String(!masked);
    part("reveal").textContent = masked ? "Show" : "Hide";
  }

  function fresh() {
    form.reset();
    form.elements.mode.value = device.get(KNOWN) ? "login" : "sign-up";
    mask(true);
    mode();
  }

  for (const choice of form.elements.mode) choice.addEventListener("change", mode);
  part("reveal").addEventListener("click", () => mask(secret.type === "text"));

  /** Name and secret of the account that this form has made: what is left to do is to log in. */
  let made = "";

  async function getIn(body) {
    const wanted = JSON.stringify(body);
    if (!signingUp() || made === wanted) return call("login", { body });
    let taken = null;
    try {
      await call("users", { body });
      made = wanted;
    } catch (refused) {
      // It may be our own, made by a try whose answer was lost.
      if (refused.type !== "USER_EXISTS") throw refused;
      taken = refused;
    }
    try {
      return await call("login", { body });
    } catch (refused) {
      throw taken && refused.type === "PASSWORD_MATCH_FAILED" ? taken : refused;
    }
  }

  form.addEventListener("submit", async (submit) => {
    submit.preventDefault();
    if (enter.ariaDisabled === "true") return;
    if (!name.value.trim()) return say("Type a name first.", name);
    if (!secret.value) return say("Type a password too.", secret);
    say("");
    enter.ariaDisabled = "true";
    const body = { username: name.value, secret: secret.value };
    try {
      const got = await getIn(body);
      logIn(got, part("keep").checked);
      fresh();
      entered();
    } catch (refused) {
      const when = refused.retryAfter ? seconds(refused.retryAfter) : "a moment";
      const text = refused.fault ? `${refused.fault} Try again in ${when}.` : SAID[refused.type];
      const atSecret = ["PASSWORD_MATCH_FAILED", "BAD_PASSWORD"].includes(refused.type);
      const field = refused.fault ? undefined : atSecret ? secret : name;
      say(text ?? `That did not work: ${refused.message || refused.type}.`, field);
    } finally {
      enter.ariaDisabled = "false";
    }
  });
  fresh();
  return { say, focus: () => name.focus() };
}
