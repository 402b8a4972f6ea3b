"""Serves a model through somebody else's server: a command that runs beside the replica, and what stands in front of it.

Path of a start: `opening` (what was asked for) → `program` (the command) → `supervisor` (keeps it up) → `run` (one process).
Path of a request: `serving` (a `behind`) → `upstream` (bounds, turns, the exchange itself).
"""
