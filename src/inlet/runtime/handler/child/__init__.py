"""Runs in the handler's process, started by path: standard library only, and nothing else of this package."""
