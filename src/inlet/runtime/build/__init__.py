"""From a model folder's files to a graph: `safetensors` (weights), `config` (shape), `encoder` (graph), `families` (names).

What is not certain is refused with a reason, never guessed.
"""
