"""A load generator for HTTP: the same request again and again, and honest figures of how it was answered.

    target ─> load (closed or open loop over `connection`) ─> Recording ─> summary ─> plot

`load` and `connection` do the I/O; `summary` and `plot` are pure. Used by `cli/bench.py`; knows nothing of Inlet but its
errors, so that any server can be measured. Answers are counted, never looked into: a run says how fast, not how right.
"""
