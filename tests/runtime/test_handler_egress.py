"""The way out of a handler's sandbox: what it refuses beside what is plainly private, and how it says so."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from inlet.runtime.handler.egress import Egress, is_public, own_addresses

# In a network of its own, whose one address is public, with a server that listens on all addresses.
OWN_ADDRESS = """
import http.server, sys, threading
from pathlib import Path
from inlet.runtime.handler.egress import Egress
from tests.runtime.test_handler_egress import asked

server = http.server.ThreadingHTTPServer(("0.0.0.0", 80), http.server.SimpleHTTPRequestHandler)
threading.Thread(target=server.serve_forever, daemon=True).start()
for reach in ((), ("8.8.8.8:80",)):
    path = Path(sys.argv[1]) / f"{len(reach)}.sock"
    egress = Egress(path, reach)
    request = b"HEAD http://8.8.8.8/ HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n"
    print(asked(path, request).split(b" ")[1].decode())
"""


def asked(path: Path, request: bytes) -> bytes:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(60)
        client.connect(str(path))
        client.sendall(request)
        return b"".join(iter(partial(client.recv, 65_536), b""))


@pytest.fixture
def out(tmp_path: Path) -> Iterator[Path]:
    egress = Egress(tmp_path / "out", ())
    yield tmp_path / "out"
    egress.close()


@pytest.mark.parametrize(
    "address",
    ["168.63.129.16", "192.0.0.192", "192.0.0.8", "192.88.99.1", "3fff::1", "64:ff9b:1::1", "100.100.100.200", "5f00::1",
     "::ffff:168.63.129.16", "64:ff9b::a83f:8110", "2002:c000:c0::1"],
)  # fmt: skip
def test_what_the_standard_library_holds_to_be_public_is_not(address: str) -> None:
    assert not is_public(address)


def test_the_machines_own_addresses_are_known_in_every_spelling() -> None:
    assert "127.0.0.1" in own_addresses()
    for address in ("8.8.8.8", "::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1"):
        assert is_public(address)
        assert not is_public(address, {"8.8.8.8"})
    assert not is_public("2606:4700:0::1111", {"2606:4700::1111"})


def test_a_public_address_of_the_machine_itself_is_no_way_round_its_firewall(tmp_path: Path) -> None:
    if shutil.which("unshare") is None or shutil.which("ip") is None:
        pytest.skip("needs unshare and ip")
    alone = ["unshare", "-rn", "sh", "-ec"]
    network = "ip link set lo up && ip address add 8.8.8.8/32 dev lo"
    if subprocess.run([*alone, network], capture_output=True, check=False).returncode:
        pytest.skip("no network of its own can be had here")
    done = subprocess.run(
        [*alone, f'{network} && exec "$@"', "sh", sys.executable, "-c", OWN_ADDRESS, str(tmp_path)],
        capture_output=True, text=True, check=False, timeout=60, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert done.stdout.split() == ["403", "200"], done.stderr


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ("127.0.0.1:443", "it is not a public address of another machine"),
        ("1.1.1.1:25", "its port is neither 80 nor 443"),
        ("[2606:4700::1111]:8080", "its port is neither 80 nor 443"),
    ],
)
def test_a_refusal_says_why_and_what_to_do_in_its_first_line(out: Path, place: str, reason: str) -> None:
    words = f"the handler may not reach {place}: {reason}; whoever runs the server can allow it, by {place} in INLET_SANDBOX_REACH"
    first, _, rest = asked(out, f"CONNECT {place} HTTP/1.1\r\n\r\n".encode()).partition(b"\r\n")
    assert first.decode() == f"HTTP/1.1 403 {words}"
    assert rest.endswith(f"\r\n\r\n{words}\n".encode())


def test_whatever_is_asked_for_the_refusal_has_one_safe_first_line(out: Path) -> None:
    target = b"ftp://\x01\x85\xe9" + b"a" * 10_000
    first = asked(out, b"GET " + target + b" HTTP/1.1\r\n\r\n").partition(b"\r\n")[0].decode("ascii")
    assert first.startswith("HTTP/1.1 403 the handler may not reach ftp://???aaa")
    assert first.isprintable()
    assert len(first) < 1000
