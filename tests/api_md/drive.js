// Does what a test says with API.md's program above, and tells what has become of it.
const state = { seen: [], refused: [], ended: [], unsent: [], resets: 0, thrown: 0, secure: isSecureContext };
let session;
window.command = ({ start, say, resume, stop }) => {
  try {
    if (start) {
      session = follow(start.room, {
        token: start.token,
        position: start.position ?? undefined,
        handle: (message) => state.seen.push(message.text),
        reset: () => (state.resets += 1),
        refused: (error, text) => state.refused.push([error.type, text.slice(0, 10)]),
        ended(code, unsent) {
          state.ended.push(code);
          state.unsent = unsent;
        },
      });
    }
    for (const text of say ?? []) session.send(text);
    if (resume) session.resume(resume);
    if (stop) session.stop();
  } catch {
    state.thrown += 1;
  }
  return state;
};
