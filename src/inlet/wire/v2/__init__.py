"""The public endpoint API (v2): JSON to core values and back.

`documents` says the shapes, `merge` what an update does to a stored document, `parse` makes a `Spec` of it, `render`
makes the answer, `provider` the hardware listing, `logs` log lines, `audit` who did what. Called by `control/`. Pure: no clock, no I/O;
must never let a secret or a password in clear pass into a document or an answer.

An endpoint's *document* is its request as sent: the known fields only, spelled and present as the client had them,
with secrets and passwords taken out. It is kept in `Spec.extras`, updates are merged into it, and answers are
rendered from it, so that clients which compare plan and answer field by field find what they sent.
"""

from inlet.wire.v2.parse import Parsed, parse_create, parse_update
from inlet.wire.v2.render import render_endpoint, timestamp

__all__ = ["Parsed", "parse_create", "parse_update", "render_endpoint", "timestamp"]
