// The HTTP half of the contract: one call, one envelope, one kind of error.

const TIMEOUT_MS = 20_000;
/** Where the server, or the way to it, is at fault, and not who asked. */
const FAULTS = {
  OFFLINE: "The server cannot be reached.",
  SILENT: "The server does not answer.",
  STRANGE: "Something on the way to the server does not answer as it should.",
  RATE_LIMITED: "The server is busy.",
  OVERLOADED: "The server is busy.",
  UNAVAILABLE: "The server cannot answer for now.",
  INTERNAL: "The server has failed at this.",
};
/** What an answer says by its status that has no envelope: one of a proxy, then. */
const BY_STATUS = { 413: "TOO_LARGE", 429: "RATE_LIMITED", 503: "UNAVAILABLE" };

/** An answer that is not a success. `type` is the contract's, or OFFLINE, SILENT or STRANGE when there was none from the server. */
export class Refused extends Error {
  constructor(type, message, retryAfter = 0, status = 0) {
    super(message);
    this.type = type;
    /** The answer's; 0 when none came. */
    this.status = status;
    /** Milliseconds to wait before trying again; 0 when the server did not say. */
    this.retryAfter = retryAfter;
  }

  /** What to tell a person where nothing about the request was wrong, or "". */
  get fault() {
    return FAULTS[this.type] ?? "";
  }
}

/** The address of `path` under /api/v1, wherever a proxy has put the page. */
export const address = (path) => new URL(`api/v1/${path}`, document.baseURI);

export const roomPath = (room) => `rooms/${encodeURIComponent(room)}/messages`;

/** How long to wait after so many failures, in ms: at random, so that not everybody comes back in the same instant. */
export const backoff = (failures) => Math.random() * Math.min(30_000, 500 * 2 ** failures);

export async function call(path, { token, body, method = body ? "POST" : "GET" } = {}) {
  const headers = {};
  if (token) headers.Authorization = `Bearer ${token}`;
  if (body) headers["Content-Type"] = "application/json";
  let answer, text;
  try {
    answer = await fetch(address(path), {
      method,
      headers,
      body: body && JSON.stringify(body),
      signal: AbortSignal.timeout(TIMEOUT_MS),
      cache: "no-store",
    });
    text = await answer.text();
  } catch (error) {
    throw new Refused(error.name === "TimeoutError" ? "SILENT" : "OFFLINE", "there was no answer");
  }
  if (answer.status === 204) return null;
  const envelope = parsed(text);
  if (answer.ok && envelope) return envelope.data;
  const type = envelope?.error?.type ?? BY_STATUS[answer.status] ?? "STRANGE";
  const wait = Number(answer.headers.get("Retry-After")) * 1000 || 0;
  throw new Refused(type, envelope?.error?.message ?? "", wait, answer.ok ? 0 : answer.status);
}

/** The envelope, or null where it is something else. */
function parsed(text) {
  try {
    const envelope = JSON.parse(text);
    return envelope !== null && typeof envelope === "object" && "data" in envelope ? envelope : null;
  } catch {
    return null;
  }
}
