"""What Inlet's serving costs beside the machine's limits and beside other servers; `README.md` says how to run and read it.

`python -m benchmarks` is the entry (`__main__`). `plan` says what is measured, `rounds` does it: it starts each of
`systems/`, lets `scenarios/` load it through `load`, and has every answer checked by `workload`. `limits` and `machine`
say what the machine could do and how it was meanwhile; `report` and `plot` make tables and pictures of the result.
`servers/` are programs that run in the environments of other servers. `router.py` is a benchmark of its own.
"""
