"""The pure part: what an endpoint is, how it moves, who may do what, what runs where and what it costs.

Standard library only; no clock, no I/O, no logging. Time is an argument, in seconds since the epoch (UTC).
Everything above may import it; it imports nothing of Inlet's.
"""
