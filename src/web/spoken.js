// What a screen reader says of new messages: a few in full, of more their number, and not all the time, so that a busy
// room is no flood. The messages themselves are not announced, since history is read into their list, too.

const PAUSE_MS = 3_000;
/** So much is gathered before the first word. */
const SOON_MS = 300;
const IN_FULL = 3;
const CHARACTERS = 300;
/** Lines that are kept: they are said once, and read by nobody. */
const KEPT = 6;

export class Spoken {
  constructor(element) {
    this.element = element;
    this.clear();
  }

  clear() {
    clearTimeout(this.timer);
    this.timer = null;
    this.waiting = [];
    this.element.replaceChildren();
  }

  add(messages) {
    this.waiting.push(...messages.map(({ sender, text }) => `${sender.username}: ${text.slice(0, CHARACTERS)}`));
    if (this.waiting.length) this.timer ??= setTimeout(() => this.say(), SOON_MS);
  }

  say() {
    this.timer = null;
    if (!this.waiting.length) return;
    const lines = this.waiting.length > IN_FULL ? [`${this.waiting.length} messages`] : this.waiting;
    this.waiting = [];
    for (const line of lines) {
      const said = document.createElement("p");
      said.textContent = line;
      this.element.append(said);
    }
    while (this.element.childElementCount > KEPT) this.element.firstElementChild.remove();
    this.timer = setTimeout(() => this.say(), PAUSE_MS);
  }
}
