"""Indexes a folder tree: hashes, word counts, compressed copies, duplicates."""
