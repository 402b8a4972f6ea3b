"""What a graph that we did not make is fed, and which of its outputs is the answer: pure, by names and ranks.

Used by the engines that open such graphs. What is not certain is refused, never guessed.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from inlet.core.errors import Refused
from inlet.runtime.build.encoder import Head

POSITIONS = "position_ids"
KNOWN_INPUTS = ("input_ids", "attention_mask", "token_type_ids", POSITIONS)
_LOGITS = "logits"
_HIDDEN = ("last_hidden_state", "token_embeddings")
_RANKS = {Head.SEQUENCE: 2, Head.TOKEN: 3, Head.HIDDEN: 3}


def check_inputs(names: Collection[str]) -> None:
    """`Refused` when one of the graph's inputs is not known, or there is none for the text."""
    unknown = sorted(set(names) - set(KNOWN_INPUTS))
    if unknown or "input_ids" not in names:
        wanted = f"asks for {', '.join(unknown)}" if unknown else "has no input input_ids"
        raise Refused(f"the ready-made graph {wanted}; supported inputs: {', '.join(KNOWN_INPUTS)}")


def output_for(head: Head, ranks: Mapping[str, int]) -> str:
    """The name of the output that answers `head`; `ranks`: of each output, in the graph's order."""
    if head is Head.HIDDEN:
        named = [name for name in _HIDDEN if name in ranks]
        # Without a known name, the first that is a vector per token; logits per token have that rank too.
        others = [name for name, rank in ranks.items() if rank == _RANKS[head] and name != _LOGITS]
        found = next(iter(named + others), None)
    else:
        found = _LOGITS if _LOGITS in ranks else None
    if found is None or ranks[found] != _RANKS[head]:
        listed = ", ".join(f"{name} of {rank} dimensions" for name, rank in ranks.items())
        wanted = "hidden states" if head is Head.HIDDEN else f"{_LOGITS} of {_RANKS[head]} dimensions"
        raise Refused(
            f"the ready-made graph has no {wanted}, only {listed}: it was exported for another task",
            field="task",
        )
    return found
