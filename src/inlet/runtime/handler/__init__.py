"""Custom handlers: a repository's own `handler.py`, run unchanged in a worker.

    files        whether a repository has one
    opening      from a folder to a program that a worker runs
    requests     from an HTTP request to what the handler gets as `data`
    environment  the handler's own Python packages
    sandbox      what of this machine it can see and do, with `bubblewrap` for the strongest kind
    seccomp      the filter of its system calls
    disk         how much it may write
    prune        what goes of the environments
    egress       its way out to the network
    child        what runs with it in its process: standard library only

Nothing of a repository runs in the replica itself, nor while its packages are installed: both are done in the sandbox.
"""
