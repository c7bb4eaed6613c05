"""Who breaks things, by a plan drawn from the seed, and then stops."""

from __future__ import annotations

import asyncio
from random import Random

from holdfast.testing.sim.cluster import Cluster, WorkerProcess
from holdfast.testing.sim.network import Storm

WEIGHTS = {"kill": 4.0, "pause": 2.0, "mute": 2.0, "drain": 1.0, "outage": 1.0, "clock": 1.0, "jump": 0.5}
"""What it likes to do, before a seed has its say."""

JUMP_S = 0.4
"""How far the database's clock jumps."""


class Nemesis:
    """Kills, pauses and drains workers, takes the database away, and sets clocks; dead workers are replaced."""

    def __init__(self, cluster: Cluster, weather: Storm, random: Random, *, workers: int, period_s: float) -> None:
        self.cluster = cluster
        self.weather = weather
        self.random = random
        self.workers = workers
        self.period_s = period_s
        # Each seed has its own likings, so that together they reach what an even mixture never would.
        self._weights = {name: weight * random.random() ** 2 for name, weight in WEIGHTS.items()}
        self.kills = self.pauses = self.drains = self.outages = self.mutes = self.clock_steps = 0
        self._paused: list[WorkerProcess] = []

    def start_worker(self) -> None:
        """A worker with clocks of its own."""
        self.cluster.start_worker(
            rate=1 + self.random.uniform(-0.01, 0.01), offset_s=self.random.choice((0.0, -3600.0, 3600.0, 40.0))
        )

    async def run(self, until_s: float) -> None:
        """Break something now and then, until then."""
        while True:
            await asyncio.sleep(self.period_s * self.random.random() * 2)
            if self.cluster.loop.now_s >= until_s:
                return
            await self._break_something()

    async def keep_workers(self) -> None:
        """Replace the workers that have died, for ever."""
        while True:
            await asyncio.sleep(0.1 + 2 * self.random.random())
            while len(self.cluster.living_workers()) < self.workers:
                self.start_worker()

    def heal(self) -> None:
        """Everything works again."""
        self.cluster.network.set_down(False)
        for one in self._paused:
            one.process.resume()
        self._paused.clear()
        self.weather.muted.clear()
        self.weather.calm = True

    async def _break_something(self) -> None:
        living = self.cluster.living_workers()
        if not living:
            return
        one = self.random.choice(living)
        (action,) = self.random.choices(list(self._weights), list(self._weights.values()))
        match action:
            case "kill":
                self.kills += 1
                one.process.kill()
            case "pause":
                self._pause(one)
            case "mute":
                self._mute(one)
            case "drain":
                self.drains += 1
                one.worker.stop()
            case "outage":
                self.outages += 1
                self._take_database_away(0.1 + 8 * self.random.random() ** 2)
            case "clock":
                self.clock_steps += 1
                one.process.step_clock(self.random.choice((-3600.0, 3600.0, -5.0, 5.0)))
            case _:
                self.clock_steps += 1
                self.cluster.clock.jump(JUMP_S)

    def _pause(self, one: WorkerProcess) -> None:
        if one in self._paused:
            return
        self.pauses += 1
        lease_s = self.cluster.settings.lease.total_seconds()
        one.process.pause()
        self._paused.append(one)
        self.cluster.loop.system.call_later(lease_s * (0.2 + 2 * self.random.random()), self._resume, one)

    def _mute(self, one: WorkerProcess) -> None:
        """Lose its heartbeats: it is taken for dead, and lives."""
        self.mutes += 1
        name, muted = one.process.name, self.weather.muted
        muted.add(name)
        lease_s = self.cluster.settings.lease.total_seconds()
        self.cluster.loop.system.call_later(lease_s * (1 + 4 * self.random.random()), muted.discard, name)

    def _resume(self, one: WorkerProcess) -> None:
        if one in self._paused:
            self._paused.remove(one)
            one.process.resume()

    def _take_database_away(self, seconds: float) -> None:
        self.cluster.network.set_down(True)
        self.cluster.loop.system.call_later(seconds, self.cluster.network.set_down, False)
