"""Generates text (and embeds or reranks) from a GGUF file by llama.cpp's own server, which runs beside the replica.

Path of a start: `files` (which GGUF file) → `header` (what it says of itself) → `plan` (context and memory) → `opening` →
`llama` (the process, kept up by `foreign/`). Path of a request: `serving` → `parameters` and `tgi`, or `openai` → `foreign/upstream`.
"""
