"""Programs that run in the environments of other servers (`systems/registry`), each a server around `classifier`.

They import nothing of the product but, when asked, its engine (`benchmarks.session`).
"""
