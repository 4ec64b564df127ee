// What this browser keeps for the page, as JSON: on the device, or in the tab only. No other file touches storage, since
// it may be blocked, full or missing: then things are kept in memory, and gone with the page. Tabs that are open at the
// same time hear of each other's changes either way.

const listeners = new Set();
let forgetful = false;
const channel = "BroadcastChannel" in window ? new BroadcastChannel("chat") : null;

class Store {
  constructor(open, shared) {
    this.shared = shared;
    /** What could not be stored. */
    this.memory = new Map();
    try {
      this.area = open();
      this.area.setItem("chat.probe", "1");
      this.area.removeItem("chat.probe");
    } catch {
      forgetful = true;
    }
  }

  /** null where there is nothing, or nothing that we have written. */
  get(key) {
    if (this.memory.has(key)) return this.memory.get(key);
    try {
      return JSON.parse(this.area.getItem(key));
    } catch {
      return null;
    }
  }

  set(key, value) {
    try {
      this.area.setItem(key, JSON.stringify(value));
      this.memory.delete(key);
    } catch {
      // What stood there must not come back after a reload.
      this.remove(key);
      this.memory.set(key, value);
      this.tell(key, value);
      if (forgetful) return;
      forgetful = true;
      hear(null);
    }
  }

  remove(key) {
    if (this.memory.delete(key)) this.tell(key);
    try {
      this.area.removeItem(key);
    } catch {
      // Then it was never there.
    }
  }

  /** The keys that begin with `prefix`. */
  keys(prefix) {
    let stored = [];
    try {
      stored = Object.keys(this.area);
    } catch {
      // Then there are those in memory only.
    }
    return [...new Set([...stored, ...this.memory.keys()])].filter((key) => key.startsWith(prefix));
  }

  clear(prefix) {
    for (const key of this.keys(prefix)) this.remove(key);
  }

  /** Storage tells the other tabs by itself, memory does not. */
  tell(key, value) {
    if (this.shared) channel?.postMessage([key, value]);
  }
}

export const tab = new Store(() => sessionStorage, false);
export const device = new Store(() => localStorage, true);

/** What belongs to one person (an account's id, or "guest") has a key that begins with this. */
export const ownedBy = (id) => `chat.of.${id}.`;

/** Whether something could not be stored, and will be gone with the page. */
export const forgets = () => forgetful;

/** `listener(key)` hears of what other tabs change on the device; of null when all of it may have changed. */
export function onChange(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

function hear(key) {
  for (const listener of [...listeners]) listener(key);
}

addEventListener("storage", ({ storageArea, key }) => {
  if (!device.area || storageArea !== device.area) return;
  device.memory.delete(key);
  hear(key);
});
channel?.addEventListener("message", ({ data: [key, value] }) => {
  if (value === undefined) device.memory.delete(key);
  else device.memory.set(key, value);
  hear(key);
});
