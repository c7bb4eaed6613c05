"""The store in memory: the reference that the databases are compared with, and what tests and simulations run on."""

from __future__ import annotations

from holdfast.store.memory.adapter import MemoryStore
from holdfast.store.memory.transaction import MemoryTransaction

__all__ = ["MemoryStore", "MemoryTransaction"]
