"""Replica sets as processes on this machine; `LocalBackend` is all that others use.

backend      the verbs; finds at start what an earlier control left
supervisor   keeps n replicas of one set alive, with back-off
replica      one replica: keeper process, phase, end
pool         processes that wait to become the next replica
keeper       the program beside each replica: limits, output, drain, how it ended
limits       which limits work here, and how much there is; cgroups for two of the three rungs
records      what lies on disk; command, spawn, exits, probe, notify, logs, usage, strays: one small thing each
"""

from inlet.backends.local.backend import LocalBackend
from inlet.backends.local.command import Command, Placement, runtime_command
from inlet.backends.local.site import Timing

__all__ = ["Command", "LocalBackend", "Placement", "Timing", "runtime_command"]
