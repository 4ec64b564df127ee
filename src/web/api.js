// The HTTP half of the contract: one call, one envelope, one kind of error.

/** An answer that is not a success. `type` is the contract's, or OFFLINE when no answer came at all. */
export class Refused extends Error {
  constructor(type, message, retryAfter = 0, status = 0) {
    super(message);
    this.type = type;
    /** The answer's; 0 when none came. */
    this.status = status;
    /** Milliseconds to wait before trying again; 0 when the server did not say. */
    this.retryAfter = retryAfter;
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
  let answer, envelope;
  try {
    answer = await fetch(address(path), {
      method,
      headers,
      body: body && JSON.stringify(body),
      signal: AbortSignal.timeout(20_000),
      cache: "no-store",
    });
    if (answer.status === 204) return null;
    envelope = await answer.json();
  } catch {
    throw new Refused("OFFLINE", "The server cannot be reached");
  }
  if (answer.ok) return envelope.data;
  const wait = Number(answer.headers.get("Retry-After")) * 1000 || 0;
  throw new Refused(envelope?.error?.type ?? "INTERNAL", envelope?.error?.message ?? "", wait, answer.status);
}
