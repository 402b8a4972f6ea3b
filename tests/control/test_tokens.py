"""A minted token can be found by its value, and its value nowhere in what is stored."""

import re

from inlet.control.tokens import mint
from inlet.core.access import Grant, Permission, hash_token


def test_a_minted_token_is_recognised_by_its_hash_alone() -> None:
    grants = (Grant(Permission.INFER, "default", "mini"),)
    value, token = mint("ci", grants, now=100.0, expires_at=200.0)
    assert re.fullmatch(r"inl_[A-Za-z0-9_-]{43}", value)
    assert token.hash == hash_token(value)
    assert value not in repr(token)
    assert (token.name, token.grants, token.created_at, token.expires_at) == ("ci", grants, 100.0, 200.0)
    assert token.live(199.0)
    assert not token.live(200.0)


def test_no_two_are_alike() -> None:
    minted = [mint("same", (), now=1.0) for _ in range(50)]
    assert len({value for value, _ in minted}) == 50
    assert len({token.id for _, token in minted}) == 50
