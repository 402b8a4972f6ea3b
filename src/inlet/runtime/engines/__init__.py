"""What computes inside a replica. `base` is the seam; each engine's library is imported in exactly one module here."""
