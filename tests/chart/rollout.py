#!/usr/bin/env python3
"""How full the fullest replica gets in a rolling update: a model of the Deployment controller and of sessions that reconnect.

Run, it prints the figures that stand beside `rollout` in values.yaml.
"""

import math
import random

STEP = 0.25  # seconds
ROUNDS = 20
START = (5, 20)  # seconds until a new replica is ready: most of it is the image being pulled


def share(value, replicas, rounded):
    """An `IntOrString` of Kubernetes, as so many replicas."""
    return rounded(replicas * int(value[:-1]) / 100) if isinstance(value, str) else value


class Rollout:
    """One rolling update; a replica's usual sessions are 1.0."""

    def __init__(self, replicas, surge, unavailable, min_ready, drain, chance):
        self.replicas, self.min_ready, self.drain, self.chance = replicas, min_ready, drain, chance
        self.most = replicas + share(surge, replicas, math.ceil)
        self.fewest = replicas - share(unavailable, replicas, math.floor)
        self.old = [{"sessions": 1.0, "leaves": math.inf} for _ in range(replicas)]
        self.new = []
        self.now = self.fullest = self.moved = 0.0

    def control(self):
        """What the Deployment controller does: those that end count for nothing."""
        staying = [old for old in self.old if old["leaves"] == math.inf]
        while len(staying) + len(self.new) < self.most and len(self.new) < self.replicas:
            self.new.append({"sessions": 0.0, "ready": self.now + self.chance.uniform(*START)})
        available = sum(self.now >= new["ready"] + self.min_ready for new in self.new)
        spare = min(len(staying), max(0, len(staying) + available - self.fewest))
        for old in self.chance.sample(staying, spare):
            old["leaves"] = self.now

    def reconnect(self):
        """A replica that leaves serves on, then tells its sessions evenly; they go to any that is ready."""
        told = 0.0
        pre_stop, drain = self.drain
        for old in self.old:
            if self.now >= old["leaves"] + pre_stop:
                part = old.setdefault("each", old["sessions"] * min(1, STEP / max(drain, STEP)))
                part = min(part, old["sessions"])
                old["sessions"] -= part
                told += part
        ready = [old for old in self.old if old["leaves"] == math.inf]
        ready += [new for new in self.new if self.now >= new["ready"]]
        for replica in ready:
            replica["sessions"] += told / len(ready)
        self.moved += told / self.replicas
        self.fullest = max(self.fullest, *(replica["sessions"] for replica in self.old + self.new))

    def run(self):
        """The most sessions that a replica had, and how often each session reconnected."""
        while len(self.new) < self.replicas or any(old["sessions"] > 1e-9 for old in self.old):
            self.control()
            self.reconnect()
            self.now += STEP
            assert self.now < 24 * 3600, "it does not end"
        return self.fullest, self.moved


def fullest(replicas, surge, unavailable, min_ready, drain=(5, 20)):
    """Of several updates the worst: sessions of the fullest replica, and how often one reconnects, both by the usual."""
    runs = [Rollout(replicas, surge, unavailable, min_ready, drain, random.Random(i)).run() for i in range(ROUNDS)]
    return max(run[0] for run in runs), max(run[1] for run in runs)


if __name__ == "__main__":
    for count in (3, 12):
        for surge, unavailable, min_ready in ((1, 0, 0), (1, 0, 15), (0, 1, 0), ("25%", "25%", 0), ("50%", 0, 15), ("100%", 0, 0), ("100%", 0, 15)):
            worst, moves = fullest(count, surge, unavailable, min_ready)
            print(f"{count:2} replicas, surge {surge!s:4} unavailable {unavailable!s:3} minReady {min_ready:2}: {worst:.2f} {moves:.2f}")
