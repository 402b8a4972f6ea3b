"""Where replica sets run. `base.py` is the seam; each other module or package is one platform behind it.

Called only by `control/reconciler.py` (and `control/` for logs and the catalogue).
"""
