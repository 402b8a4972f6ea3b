"""The worker's side: opens a model with torch and transformers, and answers calls. One call at a time, in one thread.

Imports nothing of Inlet but `pipelines/` modules that are pure. Local files only, and code that comes with a model only
where `trust_remote_code` says so. `opening.open_model` is the one entrance.
"""
