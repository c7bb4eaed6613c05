"""What a worker can execute: its own functions and graphs, and stored versions of graphs that it has the handlers for.

A line of runs belongs to one code (``model.catalog.code_name``), and a worker claims only from lines whose code it
serves, so a run never comes to a worker that lacks its version or a handler of it. A stored version is learned when the
agenda shows a run of it that waits: its document is read, once, and it is served if this program registers all that it
names. Served versions are bounded: the one that was claimed longest ago makes room, and is learned again when a run of
it waits.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from holdfast.core.definitions import content_hash, names_needed
from holdfast.errors import DefinitionNotFound, WorkflowNotRegistered
from holdfast.model.catalog import SHORT_HASH_CHARACTERS, code_name
from holdfast.model.definition import Definition
from holdfast.model.run import ClaimedRun

if TYPE_CHECKING:
    from holdfast.model.catalog import StoredDefinition
    from holdfast.workflow.registry import Registry

logger = logging.getLogger("holdfast.worker")

_VERSION: Final = re.compile(rf"@[0-9a-f]{{{SHORT_HASH_CHARACTERS}}}\Z")
"""How a code ends that names a version."""

LEARNED_MAX: Final = 200
"""Stored versions that are served at once, besides the program's own: each is a line that every claim looks at."""

UNWANTED_MAX: Final = 2_000
"""Codes that are remembered as not ours. One that is forgotten costs another look at its document."""


LACKS_SHOWN: Final = 20
"""How much of that is announced, for ``explain``."""


class Codes:
    """See the module's docstring. Used on the worker's loop."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._own: dict[str, tuple[str, Definition]] = {}
        for name in registry.graph_names:
            graph = registry.find_graph(name)
            assert graph is not None
            definition = graph.build()
            digest = content_hash(definition)
            self._own[code_name(name, digest)] = digest, definition
        self._learned: dict[str, tuple[str, Definition]] = {}
        self._retired: dict[str, tuple[str, Definition]] = {}
        self._steps: dict[str, None] = {}
        self._lacks: dict[str, list[str]] = {}
        self._names: tuple[str, ...] | None = None
        self.version = 0
        """Counts up with every change of what is to be announced."""

    @property
    def names(self) -> tuple[str, ...]:
        """The codes to announce and to claim by, in a fixed order."""
        if self._names is None:
            self._names = (*self._registry.workflow_names, *self._own, *self._steps, *self._learned)
        return self._names

    @property
    def unwanted(self) -> tuple[str, ...]:
        """Codes that this worker knows it cannot execute."""
        return tuple(self._lacks)

    @property
    def lacks(self) -> dict[str, list[str]]:
        """To announce: of codes that runs wait for, what this program would have to register; the latest ones."""
        latest = list(self._lacks.items())[-LACKS_SHOWN:]
        return {code: missing[:LACKS_SHOWN] for code, missing in latest if _VERSION.search(code)}

    def definition_of(self, run: ClaimedRun) -> Definition:
        """The definition that a claimed run follows to its end: the version it was started with.

        A run that names no version follows what this program registers.
        Raises: WorkflowNotRegistered, DefinitionNotFound.
        """
        if run.definition_hash is None:
            graph = self._registry.find_graph(run.workflow)
            if graph is None:
                raise WorkflowNotRegistered(workflow=run.workflow, known=", ".join(self._registry.workflow_names))
            return graph.build()
        code = code_name(run.workflow, run.definition_hash)
        found = self._own.get(code) or self._learned.get(code) or self._retired.get(code)
        if found is None or found[0] != run.definition_hash:
            raise DefinitionNotFound(workflow=run.workflow, version=run.version)
        return found[1]

    def note_claimed(self, runs: Iterable[ClaimedRun]) -> None:
        """These versions are in use: they stay."""
        for run in runs:
            if run.definition_hash is not None:
                code = code_name(run.workflow, run.definition_hash)
                found = self._learned.pop(code, None)
                if found is not None:
                    self._learned[code] = found

    def news(self, unasked: Iterable[str]) -> list[str]:
        """Of the codes that runs wait for: those that may name a stored version that was not looked at yet."""
        self._retired.clear()
        known = {*self.names, *self._lacks}
        fresh = [code for code in unasked if code not in known]
        for code in fresh:
            if _VERSION.search(code):
                continue
            if self._registry.knows_workflow(code):
                # A step in a line of its own, of a version that put it there.
                self._steps[code] = None
                self._changed()
            else:
                self._refuse(code, [f"workflow {code!r}"])
        return [code for code in fresh if _VERSION.search(code)]

    def look_at(self, code: str, stored: StoredDefinition | None) -> None:
        """Serve a stored version from now on; or remember what this program does not register of it."""
        missing = [f"the definition {code!r}"] if stored is None else self.missing(stored.definition)
        if stored is None or missing:
            self._refuse(code, missing)
            return
        self._learned[code] = stored.version.hash, stored.definition
        if len(self._learned) > LEARNED_MAX:
            oldest = next(iter(self._learned))
            # A claim that is under way may still bring a run of it: it is kept until the next news.
            self._retired[oldest] = self._learned.pop(oldest)
        self._changed()
        logger.info("from now on this worker executes version %d of %s", stored.version.number, code)

    def missing(self, definition: Definition) -> list[str]:
        """What this program would have to register in order to execute it."""
        # Children are runs of their own, which others may execute.
        needed, registry = names_needed(definition), self._registry
        missing = [f"step {name!r}" for name in sorted(needed.handlers) if registry.find_step(name) is None]
        return missing + [f"breaker {name!r}" for name in sorted(needed.breakers) if name not in registry.breakers]

    def _refuse(self, code: str, missing: list[str]) -> None:
        self._lacks[code] = missing
        if len(self._lacks) > UNWANTED_MAX:
            del self._lacks[next(iter(self._lacks))]
        self._changed()
        logger.info("runs wait for %s, which this worker cannot execute without %s", code, ", ".join(missing))

    def _changed(self) -> None:
        self._names = None
        self.version += 1
