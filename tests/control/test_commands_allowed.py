"""Images that run as a command: only where the operator allows it, when an endpoint is made and again when it is started."""

from __future__ import annotations

import pytest

from inlet.control.admission import check_image
from inlet.core.errors import Invalid
from inlet.core.spec import Image, Model

COMMAND = Model("/m", "custom", Image("custom", {"url": "process:"}), command=("serve", "--port", "{port}"))


def test_a_command_needs_the_operators_word() -> None:
    with pytest.raises(
        Invalid, match=r"model.image: custom runs a command on this server.*set INLET_ALLOW_COMMANDS=1"
    ):
        check_image(COMMAND, allow_commands=False)
    check_image(COMMAND, allow_commands=True)


def test_llamacpp_runs_nothing_of_anybodys() -> None:
    check_image(
        Model("/m", "custom", Image("llamacpp", {"url": "process:", "modelPath": "a.gguf"})),
        allow_commands=False,
    )
