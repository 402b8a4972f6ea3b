"""The replica: one process that serves one model. Knows nothing of control or router.

`python -m inlet.runtime` starts it (`__main__`). Path of a request: `app` (ASGI) → `body` (bytes to a JSON object) →
`dialect` (whose spelling of requests and answers) → `tasks/` (what is asked, and what the answer looks like) →
`batcher` (lanes of the engine) → `engines/`. Path of a start: `serve` → `loader` → `sources` (Hub or folder) →
`build/` (files to graph) → `engines/` → warm-up → ready. Torch and transformers are never imported here.
"""
