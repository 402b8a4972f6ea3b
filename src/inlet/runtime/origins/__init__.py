"""How a graph is got for a model's files: `choose` decides from names alone, `shape` reads what every model says of itself,
`exports` runs torch in a process of its own, `opening` hands out what can be compiled, `probes` are texts to try it with.

Called by `sources` (which files to fetch) and by `model`. Never runs code that comes with a model.
"""
