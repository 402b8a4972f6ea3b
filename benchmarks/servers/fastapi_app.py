"""FastAPI around the classifier: a plain function as handler, which FastAPI runs in its threads."""

from __future__ import annotations

from typing import Any

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

from benchmarks.servers.classifier import classifier, port


class Inputs(BaseModel):
    """The request's body."""

    inputs: str


def main() -> None:
    app, classify = FastAPI(), classifier()

    @app.post("/")
    def predict(body: Inputs) -> list[dict[str, Any]]:
        return [classify(body.inputs)]

    uvicorn.run(app, host="127.0.0.1", port=port())


if __name__ == "__main__":
    main()
