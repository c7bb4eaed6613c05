"""Who breaks things, by a plan drawn from the seed, and then stops."""

from __future__ import annotations

import asyncio
from random import Random

from holdfast.testing.sim.cluster import Cluster, WorkerProcess
from holdfast.testing.sim.network import Storm


class Nemesis:
    """Kills, pauses and drains workers, takes the database away, and sets clocks; dead workers are replaced."""

    def __init__(self, cluster: Cluster, weather: Storm, random: Random, *, workers: int, period_s: float) -> None:
        self.cluster = cluster
        self.weather = weather
        self.random = random
        self.workers = workers
        self.period_s = period_s
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
        draw = self.random.random()
        if draw < 0.85 and not living:
            return
        if draw < 0.35:
            self.kills += 1
            self.random.choice(living).process.kill()
        elif draw < 0.52:
            self._pause(self.random.choice(living))
        elif draw < 0.67:
            self._mute(self.random.choice(living))
        elif draw < 0.74:
            self.drains += 1
            self.random.choice(living).worker.stop()
        elif draw < 0.85:
            self.clock_steps += 1
            self.random.choice(living).process.step_clock(self.random.choice((-3600.0, 3600.0, -5.0, 5.0)))
        elif draw < 0.95:
            self.outages += 1
            self._take_database_away(0.1 + 8 * self.random.random() ** 2)
        else:
            self.clock_steps += 1
            self.cluster.clock.jump(0.4)

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
        self.cluster.loop.system.call_later(lease_s * (1 + 2 * self.random.random()), muted.discard, name)

    def _resume(self, one: WorkerProcess) -> None:
        if one in self._paused:
            self._paused.remove(one)
            one.process.resume()

    def _take_database_away(self, seconds: float) -> None:
        self.cluster.network.set_down(True)
        self.cluster.loop.system.call_later(seconds, self.cluster.network.set_down, False)  # noqa: FBT003 - a state
