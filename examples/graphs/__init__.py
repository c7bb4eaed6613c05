"""Three graphs, each started with ``python -m examples.graphs.NAME``: ``etl``, ``panel`` and ``onboarding``."""
