"""From a revision to what a backend is told to run: the one place where sealed secrets are opened.

Called by the reconciler just before `apply`. What it returns holds secrets in clear and must never be logged or stored.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from inlet.backends.base import Launch, ReplicaSet
from inlet.control.admission import check_command
from inlet.control.tokens import PREFIX
from inlet.control.vault import Vault
from inlet.core.catalogue import Instance, find
from inlet.core.endpoint import Endpoint, Revision, replica_set_id
from inlet.core.errors import Invalid, Refused
from inlet.core.models import MODELS, is_folder, written
from inlet.core.spec import Model
from inlet.core.trust import LENT_TOKEN

# Variables that decide which server a download talks to, and so who gets to see its token.
_REDIRECTS = re.compile(r"HF_ENDPOINT|\w+_PROXY|SSL_CERT_\w+|\w+_CA_BUNDLE", re.IGNORECASE)


class Launcher:
    """Builds replica sets. `server_token` is the server's own Hub token, lent to the first namespace only.

    `allow_commands` is asked again at every start: an operator may have taken it back.
    """

    def __init__(
        self, *, vault: Vault, server_token: str | None, first_namespace: str, allow_commands: bool = False
    ) -> None:
        # A client's shell has our own token in HF_TOKEN; Inlet started from it must not carry that to the Hub.
        self._server_token = None if _ours(server_token) else server_token
        self._vault, self._first_namespace = vault, first_namespace
        self._allow_commands = allow_commands

    def hub_token(self, endpoint: Endpoint, model: Model) -> str | None:
        """The token for our own questions about this model: the endpoint's own `HF_TOKEN`, else the server's, or None.

        `Refused` if it is a token of Inlet: those never go to the Hub.
        """
        sealed = model.secrets.get("HF_TOKEN")
        own = model.env.get("HF_TOKEN") if sealed is None else self._vault.open(sealed)
        if _ours(own):
            raise Refused("HF_TOKEN is a token of Inlet; it must be one of the Hub", field="model.secrets")
        lent = self._server_token if endpoint.namespace == self._first_namespace else None
        return own or lent

    def _replica_token(self, endpoint: Endpoint, model: Model) -> str | None:
        """The same for a replica, whose variables are the endpoint's: ours is not lent where they lead it elsewhere."""
        token = self.hub_token(endpoint, model)
        redirected = any(_REDIRECTS.fullmatch(name) for name in (*model.env, *model.secrets))
        return None if redirected and token == self._server_token else token

    def replica_set(
        self, endpoint: Endpoint, revision: Revision, n: int, catalogue: Sequence[Instance]
    ) -> ReplicaSet:
        """`n` replicas of a revision whose model was looked up; `Refused` if its instance or its image is not to be had."""
        hardware, source = revision.workload.hardware, revision.source
        if source is None:
            raise ValueError(f"revision {revision.number} of {endpoint.id} was not looked up: this is a bug")
        instance = find(hardware, tuple(catalogue))
        if instance is None:
            wanted = f"{hardware.vendor} {hardware.region} {hardware.instance_type} {hardware.instance_size}"
            raise Refused(f"there is no instance {wanted} here any more: choose another")
        model = revision.workload.model
        try:
            check_command(model, allow_commands=self._allow_commands)
        except Invalid as error:
            raise Refused(str(error)) from error
        env = {**model.env, **{name: self._vault.open(sealed) for name, sealed in model.secrets.items()}}
        env.pop(MODELS, None)
        if source.models:  # as they were looked up: pinned, and in the folders that they were checked in
            env[MODELS] = written(source.models)
        token = self._replica_token(endpoint, model)
        local = source.local and all(is_folder(entry.repository) for entry in source.models)
        if token is not None and not local and token != env.get("HF_TOKEN"):
            env[LENT_TOKEN] = token
        return ReplicaSet(
            id=replica_set_id(endpoint, revision),
            endpoint_id=endpoint.id,
            revision=revision.number,
            n=n,
            instance=instance,
            launch=Launch(
                location=source.location,
                local=source.local,
                commit=source.commit,
                task=source.task,
                framework=model.framework,
                image_kind=model.image.kind,
                image_settings={
                    name: value for name, value in model.image.settings.items() if name != "credentials"
                },
                env=env,
                args=model.args,
                command=model.command,
            ),
        )


def _ours(token: str | None) -> bool:
    return token is not None and token.startswith(PREFIX)
