"""The benchmarks' own parts: what their figures rest on. No figure is judged here."""
