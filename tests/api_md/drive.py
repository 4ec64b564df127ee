# Does what a test says with API.md's program above, and tells what has become of it.
import sys


async def drive():
    state = {"seen": [], "refused": [], "ended": [], "unsent": [], "resets": 0, "thrown": 0, "secure": False}
    kept, room, running = [None], None, None

    async def handle(message):
        state["seen"].append(message["text"])

    def reset():
        state["resets"] += 1

    def refused(error, text):
        state["refused"].append([error["type"], text[:10]])

    async def run():
        state["ended"].append(await room.run())
        state["unsent"] = list(room.outbox.values())

    while line := await asyncio.to_thread(sys.stdin.readline):
        command = json.loads(line)
        try:
            if start := command.get("start"):
                kept.append(start["position"])
                load, store = (lambda: kept[-1]), kept.append
                room = Room(sys.argv[1], start["room"], start["token"], handle, load, store, reset, refused)
                running = asyncio.create_task(run())
            for text in command.get("say", []):
                room.send(text)
            if token := command.get("resume"):
                room.token = token
                running = asyncio.create_task(run())
            if command.get("stop"):
                running.cancel()
                state["ended"].append(1000)
        except RuntimeError:
            state["thrown"] += 1
        print(json.dumps(state), flush=True)
        if running.done() and not running.cancelled():
            running.result()


asyncio.run(drive())
