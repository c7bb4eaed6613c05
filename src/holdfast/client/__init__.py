"""The client: start runs, wait for results, ask, signal, cancel."""
