"""The editor's side of one database, in one object."""

from __future__ import annotations

from holdfast.store.port import Store
from holdfast.studio.drafts import Drafts
from holdfast.studio.projects import Projects
from holdfast.studio.resolver import Resolver
from holdfast.studio.saving import Saver
from holdfast.studio.triggers import Triggers


class Studio:
    """Everything that the editor asks of a store. Its methods are blocking; any thread may call them."""

    def __init__(self, store: Store) -> None:
        self.projects = Projects(store)
        self.resolver = Resolver(store)
        self.saver = Saver(store)
        self.drafts = Drafts(store)
        self.triggers = Triggers(store)
