"""A child process of the replica that answers one request at a time, for code that must not run in the replica itself.

    serving  the parent's side: requests wait, are handed over one by one, and outlive a child that dies
    pieces   what waits of a stream between the two
    process  one child process: its start, its frames, its output, its end
    frames   what goes over the socket between the two
    program  what a child is to run, and how requests become its messages
    strays   processes that a child left behind
    child    the child's side, which needs nothing but a Python interpreter

The parent believes nothing that a child says: frames are bounded, nothing of them is unpickled, and a child that breaks the
protocol is killed.
"""
