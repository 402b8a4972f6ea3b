"""The parsers by themselves, against oracles that are not ours: httptools for bodies, h11 for heads, plain rules else."""

import itertools

import httptools
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from inlet.router.body import LAST_CHUNK, BadFraming, Chunked, Length, chunk
from inlet.router.errors import BadMessage
from inlet.router.head import check_unfinished, parse_head
from inlet.router.response import BadAnswer, parse_response
from tests.router.oracles import check_request


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = sorted({place % (len(data) + 1) for place in places} | {0, len(data)})
    return [data[a:b] for a, b in itertools.pairwise(edges)]


def decode(decoder: Chunked | Length, pieces: list[bytes]) -> tuple[bytes, bytes]:
    body, rest = b"", b""
    for piece in pieces:
        if decoder.done:
            rest += piece
        else:
            more, rest = decoder.feed(piece)
            body += more
    return body, rest


extension = st.sampled_from([b"", b";a", b";a=b", b';a="b c"'])
chunks = st.lists(st.tuples(st.binary(min_size=1, max_size=40), extension), max_size=8)


@given(
    chunks,
    st.sampled_from([b"", b"X: y\r\n", b"A: b\r\nC: d\r\n"]),
    st.binary(max_size=30),
    st.lists(st.integers(0, 500)),
)
def test_a_chunked_body_is_read_the_same_however_it_is_cut(parts, trailers, after, places):
    data = b"".join(b"%x%b\r\n%b\r\n" % (len(p), e, p) for p, e in parts) + b"0\r\n" + trailers + b"\r\n"
    decoder = Chunked()
    body, rest = decode(decoder, cut(data + after, places))
    assert decoder.done
    assert (body, rest) == (b"".join(p for p, _ in parts), after)


@given(st.lists(st.binary(max_size=50)), st.lists(st.integers(0, 500)))
def test_what_is_chunked_can_be_read_by_others(parts, places):
    data = b"".join(chunk(part) for part in parts) + LAST_CHUNK
    got: list[bytes] = []

    class Collect:
        done = False

        def on_body(self, piece):
            got.append(piece)

        def on_message_complete(self):
            self.done = True

    collect = Collect()
    parser = httptools.HttpResponseParser(collect)
    parser.feed_data(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
    for piece in cut(data, places):
        parser.feed_data(piece)
    assert collect.done
    assert b"".join(got) == b"".join(parts)


noise = st.lists(
    st.sampled_from(
        [
            b"0",
            b"1",
            b"a",
            b"F",
            b"\r\n",
            b"\r",
            b"\n",
            b";x",
            b" ",
            b"\t",
            b"-",
            b"xy",
            b":",
            b"0\r\n\r\n",
            b"\x00",
            b"\xff",
        ]
    ),
    max_size=14,
).map(b"".join)


@given(noise, st.lists(st.integers(0, 100)))
@example(b"1\r\nx\r\n0\r\n\r\n", [])
@example(b"0\r\n0\r\n\r\n", [])
@example(b"0\r\nx: y\r\n\r\n", [])
@example(b"0;x 0\r\n\r\n", [])
@example(b'0;x="y";z=0\r\n\r\n', [])
@example(b"0\r\nContent-Length: 5\r\n\r\n", [])
def test_whatever_our_decoder_takes_httptools_takes_too(data, places):
    """Strictness in one direction: a body that we pass on never ends elsewhere for another parser."""
    decoder = Chunked()
    try:
        body, rest = decode(decoder, cut(data, places))
    except BadFraming:
        return
    if not decoder.done:
        return
    got: list[bytes] = []

    class Collect:
        ends = 0

        def on_body(self, piece):
            got.append(piece)

        def on_message_complete(self):
            self.ends += 1

    collect = Collect()
    parser = httptools.HttpRequestParser(collect)
    parser.feed_data(b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n")
    parser.feed_data(data[: len(data) - len(rest)])
    assert collect.ends == 1
    assert b"".join(got) == body


@given(st.binary(max_size=60), st.integers(0, 60), st.lists(st.integers(0, 100)))
def test_a_body_of_known_length_ends_to_the_byte(data, size, places):
    decoder = Length(size)
    body, rest = decode(decoder, cut(data, places))
    assert (body, rest) == (data[:size], data[size:])
    assert decoder.done == (len(data) >= size)


# -- heads

fragment = st.sampled_from(
    [b"GET", b"POST", b" ", b"  ", b"/", b"/a", b"?x", b"HTTP/1.1", b"HTTP/1.0", b"\r\n", b"\r\n", b"\n", b"\r", b"\t", b"Host: a", b"Host", b":", b": ",
     b"X-Y", b"Content-Length: 3", b"Content-Length: 03", b"Transfer-Encoding: chunked", b"Connection: close", b"\x00", b"\x7f", b"\xe4", b"%2e", b"..", b"%", b"#", b"\\", b"*", b"http://a"]
)  # fmt: skip
good_line = st.sampled_from([b"GET /a HTTP/1.1\r\n", b"POST /a?b HTTP/1.1\r\n", b"GET / HTTP/1.0\r\n"])
field_line = st.sampled_from(
    [
        b"Host: a\r\n",
        b"X-Y:  z \r\n",
        b"Content-Length: 3\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Accept: */*\r\n",
    ]
)
almost = st.tuples(
    good_line,
    st.lists(field_line, max_size=4),
    st.lists(st.tuples(st.integers(0, 120), st.integers(0, 2), fragment), max_size=3),
)


def mutated(parts) -> bytes:
    line, fields, changes = parts
    data = line + b"".join(fields)
    for place, removed, added in changes:
        at = place % (len(data) + 1)
        data = data[:at] + added + data[at + removed :]
    return data.split(b"\r\n\r\n")[0].removesuffix(b"\r\n") + b"\r\n\r\n"


@given(
    st.one_of(
        st.lists(fragment, max_size=20).map(lambda f: b"".join(f).split(b"\r\n\r\n")[0] + b"\r\n\r\n"),
        almost.map(mutated),
        st.binary(max_size=80),
    )
)
def test_a_head_is_refused_or_can_only_be_read_in_one_way(raw):
    check_request(raw)


@given(almost.map(mutated), st.lists(st.integers(0, 200)))
def test_a_good_head_is_never_refused_half_way(raw, places):
    try:
        parse_head(raw)
    except BadMessage:
        return
    seen = 0
    for place in sorted(place % len(raw) for place in places):
        check_unfinished(raw[:place], skipped=0, seen=seen)
        seen = place


controls = st.sampled_from(
    [bytes([n]) for n in (*range(9), *range(10, 32), 127)] + [b"\r\n ", b"\r\n\t", b"\n\r\n"]
)


@given(st.integers(0, 300), st.integers(0, 2), controls)
def test_controls_anywhere_in_an_answers_head_are_refused(place, removed, added):
    base = b"HTTP/1.1 200 OK fine\r\nServer: abc\r\nX-A:  some value \r\nContent-Length: 3\r\nZ:\r\n"
    place %= len(base) + 1
    raw = base[:place] + added + base[place + removed :] + b"\r\n"
    if raw.find(b"\r\n\r\n") != len(raw) - 4:
        return
    proper = sum(raw.count(bytes([n])) for n in (*range(9), *range(10, 32), 127)) == 2 * raw.count(b"\r\n")
    if proper and b"\r\n " not in raw and b"\r\n\t" not in raw:
        return
    with pytest.raises(BadAnswer):
        parse_response(raw)


@pytest.mark.parametrize("value", [b"keep-alive", b"Close", b"X-A, close ,X-B", b"", b","])
def test_connection_is_a_list(value):
    head = parse_head(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: " + value + b"\r\n\r\n")
    assert head.keep_alive == (b"close" not in value.lower())
    assert (b"x-b" in head.named) == (b"X-B" in value)
