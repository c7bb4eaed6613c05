"""The command line: parse, call the client, show. ``main`` is the entry point, ``exits`` the table of exit codes."""
