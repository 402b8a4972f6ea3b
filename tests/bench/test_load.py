"""The generator against a real server: what it sends, how it counts, and that it does not wait where it must not."""

import ssl
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from inlet.bench.load import Load, Recording, run
from inlet.bench.target import build_target
from inlet.core.errors import InletError, Invalid
from tests.bench.server import OK, Server, serving

BODY = b'{"inputs":"a"}'


def send(
    url: str,
    load: Load,
    *bodies: bytes,
    keep_alive: bool = True,
    on_progress: Callable[[int], None] = lambda _: None,
) -> Recording:
    recording = Recording()
    run(build_target(url, bodies, headers={}, keep_alive=keep_alive), load, recording, on_progress)
    return recording


def test_all_are_sent_in_turn_and_counted(server: Server) -> None:
    shown: list[int] = []
    recording = send(server.url("/ok?a=b c"), Load(7), BODY, b"{}", on_progress=shown.append)
    lines, headers, bodies = zip(*server.requests, strict=True)
    assert set(lines) == {"POST /ok?a=b%20c HTTP/1.1"}
    assert [len(body) for body in bodies] == [14, 2, 14, 2, 14, 2, 14]
    assert headers[0]["host"] == f"127.0.0.1:{server.port}"
    assert headers[0]["content-type"] == "application/json"
    assert (len(recording.latencies), recording.failures.total(), recording.done) == (7, 0, 7)
    assert recording.received == 7 * len(OK)
    assert recording.sent > sum(map(len, bodies))
    assert shown[-1] == 7
    assert 0 < min(recording.latencies) <= max(recording.latencies) <= recording.elapsed


def test_without_a_body_it_asks(server: Server) -> None:
    send(server.url("/ok"), Load(1))
    assert server.requests[0][0] == "GET /ok HTTP/1.1"
    assert server.requests[0][2] == b""


def test_headers_win_over_the_usual_ones(server: Server) -> None:
    target = build_target(server.url("/ok"), [b"x"], headers={"Content-Type": "text/plain", "X-A": "b"})
    run(target, Load(1), Recording(), lambda _: None)
    headers = server.requests[0][1]
    assert (headers["content-type"], headers["x-a"]) == ("text/plain", "b")


def test_a_closed_loop_has_so_many_clients_and_a_connection_for_each(server: Server) -> None:
    recording = send(server.url("/hold/4"), Load(12, connections=4), BODY)
    assert len(recording.latencies) == 12
    assert server.most_waiting == 4
    assert server.connections == 4


def test_without_keep_alive_each_request_has_a_connection(server: Server) -> None:
    send(server.url("/ok"), Load(5), BODY, keep_alive=False)
    assert server.connections == 5


def test_an_open_loop_sends_whether_answers_come_or_not(server: Server) -> None:
    # None is answered before the last one is there.
    recording = send(server.url("/hold/4"), Load(4, connections=4, rate=1000, timeout=30), BODY)
    assert (len(recording.latencies), recording.failures.total()) == (4, 0)
    assert recording.crowded == 0
    assert len(recording.lags) == 4


def test_latency_counts_from_when_a_request_was_due(server: Server) -> None:
    # The generator is kept from sending: what it was late by is part of the latency of each request.
    recording = send(
        server.url("/ok"), Load(300, connections=1, rate=1000), BODY, on_progress=lambda _: time.sleep(0.2)
    )
    pairs = zip(sorted(recording.latencies), sorted(recording.lags), strict=True)
    assert all(latency > lag for latency, lag in pairs)
    assert recording.crowded > 0, "those that were due meanwhile waited for the one connection"


@pytest.mark.parametrize("path", ["/chunked", "/until-close", "/interim", "/last", "/ok"])
def test_every_way_to_end_an_answer(server: Server, path: str) -> None:
    recording = send(server.url(path), Load(4), BODY)
    assert (len(recording.latencies), dict(recording.failures)) == (4, {})


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/status/404", "status 404"),
        ("/status/302", "status 302"),
        ("/cut", "the connection was closed before the answer was whole"),
        ("/garbage", "the answer is no HTTP"),
    ],
)
def test_every_way_to_fail(server: Server, path: str, kind: str) -> None:
    recording = send(server.url(path), Load(3), BODY)
    assert (recording.latencies, dict(recording.failures)) == ([], {kind: 3})


def test_failures_are_counted_beside_the_answers(server: Server) -> None:
    recording = send(server.url("/fail/3"), Load(9), BODY)
    assert len(recording.latencies) == 6
    assert dict(recording.failures) == {"status 503": 3}
    assert recording.answers == {"status 503": '{"error":"busy"}'}


def test_no_answer_in_time_is_a_failure(server: Server) -> None:
    recording = send(server.url("/never"), Load(2, connections=2, timeout=0.2), BODY)
    assert dict(recording.failures) == {"no answer within 0.2 s": 2}


def test_a_connection_with_an_answer_too_many_is_not_used_again(server: Server) -> None:
    recording = send(server.url("/twice"), Load(3), BODY)
    assert recording.done == 3
    assert server.connections == 3


def test_nobody_listens(server: Server) -> None:
    with pytest.raises(InletError, match=r"127\.0\.0\.1:1 cannot be reached: connection refused"):
        send("http://127.0.0.1:1/", Load(1))


@pytest.mark.parametrize("url", ["ftp://h/", "http://", "http://h:x/", "http://[/", "//h/"])
def test_what_is_no_url(url: str) -> None:
    with pytest.raises(Invalid, match="is not a URL"):
        build_target(url, [], headers={})


@pytest.mark.parametrize("header", ["a\r\nb", "ä"])
def test_what_is_no_header(header: str) -> None:
    with pytest.raises(Invalid, match="--header"):
        build_target("http://h/", [], headers={"x": header})


def test_tls_is_spoken_and_verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate = self_signed(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with serving(context) as server:
        refused = send(server.url("/ok"), Load(1), BODY)
        assert list(refused.failures) == ["its certificate does not verify: self-signed certificate"]
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert len(send(server.url("/ok"), Load(3), BODY).latencies) == 3
        assert server.connections == 1


def self_signed(folder: Path) -> Path:
    """A file with key and certificate of 127.0.0.1."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = folder / "server.pem"
    file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    return file
