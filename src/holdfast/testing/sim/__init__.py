"""The deterministic simulator: the engine itself, on a virtual clock, under every fault that can be thought of."""
