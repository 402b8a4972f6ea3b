"""Our parsers against others on made-up bytes, and the whole router on streams cut at any place.

`corpus/` holds what a coverage-guided search (`fuzz.py`, `make fuzz`) found worth keeping; it is replayed here, and changed at
random a little. What the others must agree on is said in `oracles.py`.
"""

import asyncio
from collections.abc import Iterator

import h11
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inlet.core.spec import Visibility
from tests.router.fuzz import TARGETS, WORDS, check_of, stored
from tests.router.test_attack import ACCEPTED, REFUSED
from tests.router.test_parsing import cut
from tests.router.test_smuggling import SENT_ON_AS_A_BODY
from tests.router.world import request, route, world

changes = st.lists(
    st.tuples(
        st.integers(0, 700),
        st.integers(0, 3),
        st.one_of(st.sampled_from([word.encode() for word in WORDS]), st.binary(max_size=4)),
    ),
    max_size=4,
)


def changed(data: bytes, by: list[tuple[int, int, bytes]]) -> bytes:
    for place, removed, added in by:
        at = place % (len(data) + 1)
        data = data[:at] + added + data[at + removed :]
    return data


@pytest.mark.parametrize("target", TARGETS)
def test_the_stored_corpus(target: str):
    taken = [check_of(target)(data) for data in stored(target)]
    assert any(taken)
    assert not all(taken)  # else it would say nothing about what is refused


@pytest.mark.parametrize("target", TARGETS)
def test_the_stored_corpus_changed_at_random(target: str):
    holds = check_of(target)

    @settings(max_examples=400)
    @given(st.sampled_from(stored(target)), changes)
    def check(data: bytes, by: list[tuple[int, int, bytes]]) -> None:
        holds(changed(data, by))

    check()


# -- the whole router

GOOD = [
    *(data for _, data, _ in ACCEPTED),
    *(data for _, data, _ in SENT_ON_AS_A_BODY),
    request(body=b"x"),
    request("/nobody/x", body=b"x"),
]
LAST = [
    request(extra=b"Connection: close\r\n", body=b"last"),
    *(data for _, data, _ in REFUSED if len(data) < 2000),
]


async def outcome(pieces: list[bytes]) -> tuple[list[tuple[int, bytes]], list[tuple[str, str]]]:
    """What a client gets for a stream in these pieces, and what the replica got of those that it answered."""
    async with world() as here:
        replica = await here.replica()
        await here.publish(route(replica.upstream(), visibility=Visibility.PUBLIC))
        async with here.raw() as client:
            for piece in pieces:
                client.writer.write(piece)
                for _ in range(3):  # the router runs in this very loop: it reads what is there
                    await asyncio.sleep(0)
            answers = list(answers_in(await client.closed()))
        answered = sum(status == 200 for status, _ in answers)
        assert len(replica.asked) - answered in (0, 1)  # the last one may have begun before it broke
        return answers, [(asked.method, asked.target) for asked in replica.asked[:answered]]


def answers_in(stream: bytes) -> Iterator[tuple[int, bytes]]:
    """Status of each answer, and its body unless it is an error, whose words may depend on how much was there."""
    while stream:
        parser = h11.Connection(h11.CLIENT)
        parser.send(h11.Request(method="GET", target="/", headers=[("host", "x")]))
        parser.send(h11.EndOfMessage())
        parser.receive_data(stream)
        status, body = 0, b""
        while not isinstance(event := parser.next_event(), h11.EndOfMessage):
            if isinstance(event, h11.Response):
                status = event.status_code
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
        yield status, body if status == 200 else b""
        stream = parser.trailing_data[0]


@settings(max_examples=50)
@given(
    st.lists(st.sampled_from(GOOD), max_size=6),
    st.sampled_from(LAST),
    st.lists(st.integers(0, 5000), max_size=30),
)
def test_however_a_stream_is_cut_it_is_read_in_the_same_way(
    good: list[bytes], last: bytes, places: list[int]
):
    stream = b"".join([*good, last])
    whole = asyncio.run(outcome([stream]))
    assert len(whole[0]) == len(good) + 1
    assert asyncio.run(outcome(cut(stream, places))) == whole
