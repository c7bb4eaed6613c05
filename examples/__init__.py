"""Programs that show holdfast at work; each is started with ``python -m examples.<name>``."""
