"""Several models behind one endpoint: `serving` finds the one that a request is meant for, `residents` has it in memory.

Entered by `serve`, through `serving.start`. Everything here runs on the event loop; what takes long is handed to a thread.
"""
