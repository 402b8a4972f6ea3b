"""Models that torch and transformers compute: every task that no faster way computes, each in a process of its own.

`tasks/` is the replica's side: it reads requests and shapes answers, and never imports torch. `child/` is the worker's
side: it opens a model and answers calls, and knows nothing of HTTP, dialects or the rest of Inlet. `call` is what passes
between them.
"""
