"""Serving of scikit-learn models: which file, whether it may be loaded, and requests as tables or texts.

`loader` asks `files` and `opening`; what comes back is a `Predictor` for `calls`. scikit-learn is imported by `opening` only
when there is a model for it, and by nothing outside this package.
"""
