"""What the pages about coming from other servers install with pip, at the versions that they were tried with."""

from __future__ import annotations

import sklearn

_SKLEARN = f"scikit-learn=={sklearn.__version__}"  # ours: a model is loaded where it was not trained
ARCHIVER = ("torch-model-archiver==0.12.0",)
MLFLOW = ("mlflow-skinny==3.17.2", "pandas", "skops", _SKLEARN)
BENTOML = ("bentoml==1.4.40", _SKLEARN)
