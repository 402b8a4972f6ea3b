"""The router attacked over a raw socket: one row per case, and what must come of it.

Every refused request must get exactly one answer with a JSON error, must end its connection, and must never reach a
replica. Whatever follows it on the connection is never looked at.
"""

import asyncio

import orjson
import pytest

from inlet.core.spec import Visibility
from inlet.router.server import IDLE_S, ClientConnection
from tests.router.world import Raw, World, request, route, until, world

H = b"Host: base\r\n"
END = b"\r\n"
PATH = b"/default/mini"
SMUGGLED = b"POST /default/mini/smuggled HTTP/1.1\r\nHost: base\r\nContent-Length: 1\r\n\r\nx"


def get(
    target: bytes = PATH, fields: bytes = H, version: bytes = b"HTTP/1.1", method: bytes = b"GET"
) -> bytes:
    return method + b" " + target + b" " + version + b"\r\n" + fields + END


def post(fields: bytes, body: bytes = b"") -> bytes:
    return b"POST " + PATH + b" HTTP/1.1\r\n" + H + fields + END + body


REFUSED: list[tuple[str, bytes, int]] = [
    # request line
    ("no version", b"GET " + PATH + b"\r\n" + H + END, 400),
    ("two spaces", b"GET  " + PATH + b" HTTP/1.1\r\n" + H + END, 400),
    ("space at the end", b"GET " + PATH + b" HTTP/1.1 \r\n" + H + END, 400),
    ("tab between", b"GET\t" + PATH + b"\tHTTP/1.1\r\n" + H + END, 400),
    ("space in the target", get(PATH + b" x"), 400),
    ("HTTP/2", get(version=b"HTTP/2.0"), 505),
    ("HTTP/0.9", get(version=b"HTTP/0.9"), 505),
    ("HTTP/1.2", get(version=b"HTTP/1.2"), 505),
    ("lower-case version", get(version=b"http/1.1"), 505),
    ("HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 405),
    ("TLS hello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    ("TLS hello that goes on", b"\x16\x03\x03\x00\x0a" + bytes(200), 400),
    ("SOCKS", b"\x05\x01\x00", 400),
    ("a proxy's own line", b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n" + get(), 400),
    ("NUL first", b"\x00" + get(), 400),
    ("space first", b" " + get(), 400),
    ("form feed in the request line", b"GET\x0c" + PATH + b" HTTP/1.1\r\n" + H + END, 400),
    ("lower-case method", get(method=b"get"), 400),
    ("method with a control character", get(method=b"G\x08T"), 400),
    ("method that is not ASCII", get(method=b"G\xc3\x89T"), 400),
    ("PATCH misspelt", get(method=b"PATC"), 405),
    ("method of WebDAV", get(method=b"PROPFIND"), 405),
    ("long method", get(method=b"A" * 300), 405),
    ("endless method", b"A" * 40_000, 414),
    ("unknown method", get(method=b"BREW"), 405),
    ("CONNECT", get(b"base:443", method=b"CONNECT"), 405),
    ("TRACE", get(method=b"TRACE"), 405),
    ("two empty lines first", b"\r\n\r\n" + get(), 400),
    ("bare LF first", b"\n" + get(), 400),
    # targets
    ("authority-form", get(b"base:80"), 400),
    ("asterisk", get(b"*", method=b"OPTIONS"), 400),
    ("relative", get(b"default/mini"), 400),
    ("absolute with another host", get(b"http://other" + PATH), 400),
    ("absolute with user", get(b"http://user@base" + PATH), 400),
    ("absolute, other scheme", get(b"ftp://base" + PATH), 400),
    ("absolute, empty host", get(b"http://" + PATH), 400),
    ("absolute, a machine inside", get(b"http://169.254.169.254/latest/meta-data"), 400),
    ("absolute, another port", get(b"http://base:81" + PATH), 400),
    ("absolute with dots", get(b"http://base/default/../v2"), 400),
    ("absolute, two at signs", get(b"http://base@other@base" + PATH), 400),
    ("absolute, backslash", get(b"http://base\\other" + PATH), 400),
    ("absolute, Host missing", get(b"http://base" + PATH, fields=b"X: y\r\n"), 400),
    ("scheme-relative without a slash", get(b"base" + PATH), 400),
    ("file URL", get(b"file:///etc/passwd"), 400),
    ("fragment", get(PATH + b"#x"), 400),
    ("backslash", get(b"/default\\mini"), 400),
    ("NUL escape", get(PATH + b"/%00"), 400),
    ("broken escape", get(PATH + b"/%zz"), 400),
    ("half an escape", get(PATH + b"/%2"), 400),
    ("not ASCII", get(PATH + b"/\xc3\xa4"), 400),
    ("dots", get(PATH + b"/../other"), 400),
    ("one dot", get(b"/./default/mini"), 400),
    ("dots at the end", get(PATH + b"/.."), 400),
    ("encoded dots", get(PATH + b"/%2e%2E/other"), 400),
    ("half encoded dots", get(PATH + b"/.%2e/other"), 400),
    ("dots behind an encoded slash", get(PATH + b"/a%2f..%2fb"), 400),
    ("dots behind an encoded backslash", get(PATH + b"/a%5C..%5cb"), 400),
    ("dots into control", get(PATH + b"/../../v2/endpoint"), 400),
    ("dots before a query", get(PATH + b"/..?x=1"), 400),
    ("dots between encoded slashes", get(PATH + b"/a%2F%2E%2E%2Fb"), 400),
    ("NUL escape in the query", get(PATH + b"?x=%00"), 400),
    ("broken escape in the query", get(PATH + b"?x=%"), 400),
    ("control character in the target", get(PATH + b"/\x01"), 400),
    ("DEL in the target", get(PATH + b"/\x7f"), 400),
    ("tab in the target", get(PATH + b"/a\tb"), 400),
    ("CR in the target", get(PATH + b"/a\rb"), 400),
    ("long target", get(PATH + b"/" + b"a" * 9000), 414),
    # line ends and characters
    ("bare LF throughout", b"GET " + PATH + b" HTTP/1.1\nHost: base\n\n", 400),
    ("bare LF after the request line", b"GET " + PATH + b" HTTP/1.1\nHost: base\r\n\r\n", 400),
    ("bare LF between fields", get(fields=b"Host: base\nX: y\r\n"), 400),
    ("bare LF at the end", b"GET " + PATH + b" HTTP/1.1\r\nHost: base\r\n\n", 400),
    ("bare CR in a value", get(fields=H + b"X: a\rb\r\n"), 400),
    ("folded with a space", get(fields=H + b"X: a\r\n b\r\n"), 400),
    ("folded with a tab", get(fields=H + b"X: a\r\n\tContent-Length: 5\r\n"), 400),
    ("folded first field", b"GET " + PATH + b" HTTP/1.1\r\n X: a\r\n" + H + END, 400),
    ("folded, nothing but a space", get(fields=H + b"X: a\r\n \r\n"), 400),
    ("folded Host", get(fields=b"Host:\r\n base\r\n"), 400),
    ("folded encoding", post(b"Transfer-Encoding:\r\n chunked\r\n", b"0\r\n\r\n"), 400),
    ("CR CR LF", get(fields=H + b"X: a\r\r\n"), 400),
    ("LF CR", get(fields=H + b"X: a\n\rY: b\r\n"), 400),
    ("vertical tab in a value", get(fields=H + b"X: a\x0bb\r\n"), 400),
    ("form feed in a value", get(fields=H + b"X: a\x0cb\r\n"), 400),
    ("escape in a value", get(fields=H + b"X: \x1b[2J\r\n"), 400),
    ("NUL in a value", get(fields=H + b"X: a\x00b\r\n"), 400),
    ("control character in a value", get(fields=H + b"X: a\x08b\r\n"), 400),
    ("DEL in a value", get(fields=H + b"X: a\x7fb\r\n"), 400),
    ("NUL in a name", get(fields=H + b"X\x00: a\r\n"), 400),
    ("space before the colon", get(fields=H + b"X : a\r\n"), 400),
    ("no colon", get(fields=H + b"X\r\n"), 400),
    ("empty name", get(fields=H + b": a\r\n"), 400),
    ("tab before the colon", get(fields=H + b"X\t: a\r\n"), 400),
    ("space before the colon of a length", post(b"Content-Length : 1\r\n", b"x"), 400),
    ("space before the colon of an encoding", post(b"Transfer-Encoding : chunked\r\n", b"0\r\n\r\n"), 400),
    ("space inside a name", get(fields=H + b"X Y: a\r\n"), 400),
    ("a name in quotes", get(fields=H + b'"X": a\r\n'), 400),
    ("NUL behind a name", post(b"Content-Length\x00: 1\r\n", b"x"), 400),
    ("vertical tab in front of a name", post(b"\x0bContent-Length: 1\r\n", b"x"), 400),
    ("odd name", get(fields=H + b"X(y): a\r\n"), 400),
    ("name that is not ASCII", get(fields=H + b"X\xe4: a\r\n"), 400),
    # Host
    ("no Host", get(fields=b"X: y\r\n"), 400),
    ("two Hosts", get(fields=H + H), 400),
    ("two different Hosts", get(fields=H + b"Host: other\r\n"), 400),
    ("two Hosts on 1.0", get(fields=H + H, version=b"HTTP/1.0"), 400),
    ("empty Host", get(fields=b"Host:\r\n"), 400),
    ("Host with a path", get(fields=b"Host: base/x\r\n"), 400),
    ("Host with a user", get(fields=b"Host: a@base\r\n"), 400),
    ("Host with a list", get(fields=b"Host: base, other\r\n"), 400),
    ("Host with a bad port", get(fields=b"Host: base:x\r\n"), 400),
    ("Host with an empty port", get(fields=b"Host: base:\r\n"), 400),
    ("Host with a long port", get(fields=b"Host: base:123456\r\n"), 400),
    ("Host with a negative port", get(fields=b"Host: base:-1\r\n"), 400),
    ("Host with two ports", get(fields=b"Host: base:80:80\r\n"), 400),
    ("Host with a scheme", get(fields=b"Host: http://base\r\n"), 400),
    ("Host with a query", get(fields=b"Host: base?x\r\n"), 400),
    ("Host with a fragment", get(fields=b"Host: base#x\r\n"), 400),
    ("Host with a space", get(fields=b"Host: base other\r\n"), 400),
    ("Host with an escape", get(fields=b"Host: b%61se\r\n"), 400),
    ("Host with a backslash", get(fields=b"Host: base\\x\r\n"), 400),
    ("Host that is not ASCII", get(fields=b"Host: b\xc3\xa4se\r\n"), 400),
    ("Host with a quote", get(fields=b'Host: base"\r\n'), 400),
    ("Host with markup", get(fields=b"Host: <script>\r\n"), 400),
    ("Host, an open bracket", get(fields=b"Host: [::1\r\n"), 400),
    ("Host, an address with a zone", get(fields=b"Host: [fe80::1%25eth0]\r\n"), 400),
    ("Host beside one in another case", get(fields=H + b"hOST: base\r\n"), 400),
    ("Host behind a Host with a space", get(fields=H + b"Host : other\r\n"), 400),
    ("no Host, but a target with one", get(b"http://base" + PATH, fields=b""), 400),
    # length
    ("two equal lengths", post(b"Content-Length: 1\r\nContent-Length: 1\r\n", b"x"), 400),
    ("two different lengths", post(b"Content-Length: 1\r\nContent-Length: 50\r\n", b"x"), 400),
    ("list of lengths", post(b"Content-Length: 1, 1\r\n", b"x"), 400),
    ("plus", post(b"Content-Length: +1\r\n", b"x"), 400),
    ("minus", post(b"Content-Length: -1\r\n", b"x"), 400),
    ("hexadecimal length", post(b"Content-Length: 0x1\r\n", b"x"), 400),
    ("underscore", post(b"Content-Length: 1_0\r\n", b"x" * 10), 400),
    ("empty length", post(b"Content-Length: \r\n"), 400),
    ("length in words", post(b"Content-Length: one\r\n"), 400),
    ("length with a space", post(b"Content-Length: 1 0\r\n", b"x" * 10), 400),
    ("length with a tab inside", post(b"Content-Length: 1\t0\r\n", b"x" * 10), 400),
    ("length with a point", post(b"Content-Length: 1.0\r\n", b"x"), 400),
    ("length with an exponent", post(b"Content-Length: 1e1\r\n", b"x" * 10), 400),
    ("length with a semicolon", post(b"Content-Length: 1;x\r\n", b"x"), 400),
    ("length in other digits", post("Content-Length: \u0661\r\n".encode(), b"x"), 400),
    ("length in superscript", post(b"Content-Length: \xb2\r\n", b"x"), 400),
    ("length in quotes", post(b'Content-Length: "1"\r\n', b"x"), 400),
    ("list of lengths with nothing in it", post(b"Content-Length: ,1\r\n", b"x"), 400),
    ("a length and an empty one", post(b"Content-Length: 1\r\nContent-Length:\r\n", b"x"), 400),
    ("two lengths in two cases", post(b"Content-Length: 1\r\ncontent-length: 2\r\n", b"xy"), 400),
    ("length just over 64 bits", post(b"Content-Length: 18446744073709551617\r\n", b"x"), 400),
    ("length just over 63 bits", post(b"Content-Length: 9223372036854775808\r\n", b"x"), 413),
    ("thousands of zeros", post(b"Content-Length: " + b"0" * 5000 + b"1\r\n", b"x"), 400),
    ("overflowing length", post(b"Content-Length: 99999999999999999999999\r\n"), 400),
    ("length over the limit", post(b"Content-Length: 999999999999\r\n"), 413),
    ("length and chunked", post(b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n"), 400),
    ("chunked and length", post(b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", b"0\r\n\r\n"), 400),
    ("chunked and length 0", post(b"Transfer-Encoding: chunked\r\nContent-Length: 0\r\n", b"0\r\n\r\n"), 400),
    ("chunked twice", post(b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n"), 400),
    ("chunked, chunked", post(b"Transfer-Encoding: chunked, chunked\r\n", b"0\r\n\r\n"), 400),
    ("gzip, chunked", post(b"Transfer-Encoding: gzip, chunked\r\n", b"0\r\n\r\n"), 400),
    ("x, chunked", post(b"Transfer-Encoding: x,chunked\r\n", b"0\r\n\r\n"), 400),
    ("chunked with a comma behind", post(b"Transfer-Encoding: chunked,\r\n", b"0\r\n\r\n"), 400),
    ("chunked with a comma in front", post(b"Transfer-Encoding: ,chunked\r\n", b"0\r\n\r\n"), 400),
    ("chunked with a parameter", post(b"Transfer-Encoding: chunked;q=1\r\n", b"0\r\n\r\n"), 400),
    ("chunked with a space inside", post(b"Transfer-Encoding: chun ked\r\n", b"0\r\n\r\n"), 400),
    ("chunked and something", post(b"Transfer-Encoding: chunked x\r\n", b"0\r\n\r\n"), 400),
    ("chunked behind NUL", post(b"Transfer-Encoding: \x00chunked\r\n", b"0\r\n\r\n"), 400),
    ("chunked with an odd letter", post("Transfer-Encoding: chun\u212aed\r\n".encode(), b"0\r\n\r\n"), 400),
    ("chunked and identity", post(b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", b"0\r\n\r\n"), 400),
    ("identity and chunked", post(b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n"), 400),
    ("identity and length", post(b"Transfer-Encoding: identity\r\nContent-Length: 1\r\n", b"x"), 400),
    ("deflate", post(b"Transfer-Encoding: deflate\r\n"), 400),
    ("xchunked and length", post(b"Transfer-Encoding: xchunked\r\nContent-Length: 5\r\n", b"0\r\n\r\n"), 400),
    ("chunked, identity", post(b"Transfer-Encoding: chunked, identity\r\n", b"0\r\n\r\n"), 400),
    ("identity", post(b"Transfer-Encoding: identity\r\n"), 400),
    ("xchunked", post(b"Transfer-Encoding: xchunked\r\n", b"0\r\n\r\n"), 400),
    ("chunked with a vertical tab", post(b"Transfer-Encoding: \x0bchunked\r\n", b"0\r\n\r\n"), 400),
    ("quoted chunked", post(b'Transfer-Encoding: "chunked"\r\n', b"0\r\n\r\n"), 400),
    ("empty encoding", post(b"Transfer-Encoding:\r\n", b"0\r\n\r\n"), 400),
    ("chunked on 1.0", b"POST " + PATH + b" HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    # chunks
    ("chunk size with 0x", post(b"Transfer-Encoding: chunked\r\n", b"0x1\r\nx\r\n0\r\n\r\n"), 400),
    ("chunk size negative", post(b"Transfer-Encoding: chunked\r\n", b"-1\r\nx\r\n0\r\n\r\n"), 400),
    ("chunk size with a space", post(b"Transfer-Encoding: chunked\r\n", b"1 \r\nx\r\n0\r\n\r\n"), 400),
    ("chunk size empty", post(b"Transfer-Encoding: chunked\r\n", b"\r\nx\r\n0\r\n\r\n"), 400),
    ("chunk size too long", post(b"Transfer-Encoding: chunked\r\n", b"00000000000000001\r\nx\r\n0\r\n\r\n"), 400),
    ("chunk size over 64 bits", post(b"Transfer-Encoding: chunked\r\n", b"10000000000000001\r\nx\r\n0\r\n\r\n"), 400),
    ("chunk size with a plus", post(b"Transfer-Encoding: chunked\r\n", b"+1\r\nx\r\n0\r\n\r\n"), 400),
    ("chunk size with an underscore", post(b"Transfer-Encoding: chunked\r\n", b"1_0\r\nx\r\n0\r\n\r\n"), 400),
    ("chunk size behind a space", post(b"Transfer-Encoding: chunked\r\n", b" 1\r\nx\r\n0\r\n\r\n"), 400),
    ("chunk size behind a tab", post(b"Transfer-Encoding: chunked\r\n", b"\t1\r\nx\r\n0\r\n\r\n"), 400),
    ("chunk size behind an empty line", post(b"Transfer-Encoding: chunked\r\n", b"\r\n1\r\nx\r\n0\r\n\r\n"), 400),
    ("chunk size and a letter", post(b"Transfer-Encoding: chunked\r\n", b"1g\r\nx\r\n0\r\n\r\n"), 400),
    ("chunk size that is not ASCII", post(b"Transfer-Encoding: chunked\r\n", b"\xb9\r\nx\r\n0\r\n\r\n"), 400),
    ("chunk size and NUL", post(b"Transfer-Encoding: chunked\r\n", b"1\x00\r\nx\r\n0\r\n\r\n"), 400),
    ("chunk line with CR CR LF", post(b"Transfer-Encoding: chunked\r\n", b"1\r\r\nx\r\n0\r\n\r\n"), 400),
    ("last chunk with bare LF", post(b"Transfer-Encoding: chunked\r\n", b"1\r\nx\r\n0\n\r\n"), 400),
    ("empty line after the last chunk with bare LF", post(b"Transfer-Encoding: chunked\r\n", b"1\r\nx\r\n0\r\n\n"), 400),
    ("chunk shorter than its size", post(b"Transfer-Encoding: chunked\r\n", b"5\r\nx\r\n0\r\n\r\n"), 400),
    ("no line end after a chunk", post(b"Transfer-Encoding: chunked\r\n", b"1\r\nx0\r\n\r\n"), 400),
    ("chunk line with bare LF", post(b"Transfer-Encoding: chunked\r\n", b"1\nx\r\n0\r\n\r\n"), 400),
    ("chunk longer than its size", post(b"Transfer-Encoding: chunked\r\n", b"1\r\nxy\r\n0\r\n\r\n"), 400),
    ("chunk ended by bare LF", post(b"Transfer-Encoding: chunked\r\n", b"1\r\nx\n0\r\n\r\n"), 400),
    ("bare CR in an extension", post(b"Transfer-Encoding: chunked\r\n", b"1;a\rb\r\nx\r\n0\r\n\r\n"), 400),
    ("long extension", post(b"Transfer-Encoding: chunked\r\n", b"1;" + b"a" * 300), 400),
    ("bare LF in an extension", post(b"Transfer-Encoding: chunked\r\n", b"1;a\nx\r\n0\r\n\r\n"), 400),
    ("bare LF behind a semicolon", post(b"Transfer-Encoding: chunked\r\n", b"1;\nx\r\n0\r\n\r\n"), 400),
    ("an extension without a name", post(b"Transfer-Encoding: chunked\r\n", b"1;\r\nx\r\n0\r\n\r\n"), 400),
    ("a line end in quotes", post(b"Transfer-Encoding: chunked\r\n", b'1;a="\r\nx\r\n0\r\n\r\n"'), 400),
    ("NUL in an extension", post(b"Transfer-Encoding: chunked\r\n", b"1;a\x00\r\nx\r\n0\r\n\r\n"), 400),
    ("an endless chunk line", post(b"Transfer-Encoding: chunked\r\n", b"1" * 5000), 400),
    ("endless extensions", post(b"Transfer-Encoding: chunked\r\n", (b"1;" + b"a" * 200 + b"\r\nx\r\n") * 100), 400),
    ("endless trailers", post(b"Transfer-Encoding: chunked\r\n", b"0\r\n" + b"X: y\r\n" * 5000), 400),
    ("one long trailer", post(b"Transfer-Encoding: chunked\r\n", b"0\r\nX: " + b"y" * 9000), 400),
    ("trailer that is no field", post(b"Transfer-Encoding: chunked\r\n", b"0\r\nX\r\n\r\n"), 400),
    ("trailer that frames", post(b"Transfer-Encoding: chunked\r\n", b"0\r\nContent-Length: 5\r\n\r\n"), 400),
    ("trailer that frames, in another case", post(b"Transfer-Encoding: chunked\r\n", b"0\r\ntransfer-ENCODING: x\r\n\r\n"), 400),
    ("folded trailer", post(b"Transfer-Encoding: chunked\r\n", b"0\r\nX: y\r\n z\r\n\r\n"), 400),
    ("trailer with NUL", post(b"Transfer-Encoding: chunked\r\n", b"0\r\nX: \x00\r\n\r\n"), 400),
    ("a request for a trailer", post(b"Transfer-Encoding: chunked\r\n", b"0\r\nGET /x HTTP/1.1\r\n\r\n"), 400),
    ("space in an extension", post(b"Transfer-Encoding: chunked\r\n", b"0;x 0\r\n\r\n"), 400),
    ("trailer with bare LF", post(b"Transfer-Encoding: chunked\r\n", b"0\r\nX: y\n\r\n"), 400),
    # the rest
    ("two Authorizations", get(fields=H + b"Authorization: Bearer a\r\nAuthorization: Bearer inlet_caller\r\n"), 400),
    ("odd Expect", post(b"Expect: 200-ok\r\nContent-Length: 1\r\n", b"x"), 417),
    ("empty Expect", post(b"Expect:\r\nContent-Length: 1\r\n", b"x"), 417),
    ("a list for Expect", post(b"Expect: 100-continue, x\r\nContent-Length: 1\r\n", b"x"), 417),
    ("two Authorizations in two cases", get(fields=H + b"Authorization: Bearer a\r\nAUTHORIZATION: Bearer a\r\n"), 400),
    ("many fields", get(fields=H + b"".join(b"X-%d: y\r\n" % n for n in range(101))), 431),
    ("large head", get(fields=H + b"X: " + b"y" * 33_000 + b"\r\n"), 431),
    ("endless head", b"GET " + PATH + b" HTTP/1.1\r\n" + H + b"X: y\r\n" * 6000, 431),
    ("endless request line", b"GET /" + b"a" * 40_000, 414),
]  # fmt: skip


async def _public(here: World) -> object:
    replica = await here.replica()
    await here.publish(route(replica.upstream(), visibility=Visibility.PUBLIC))
    return replica


LONGEST_BY_BYTE = 2000
PACED = [(*row, "at once") for row in REFUSED] + [
    (*row, "byte by byte") for row in REFUSED if len(row[1]) <= LONGEST_BY_BYTE
]


@pytest.mark.parametrize(
    ("data", "status", "pace"), [row[1:] for row in PACED], ids=[f"{r[0]}, {r[3]}" for r in PACED]
)
async def test_refused(data: bytes, status: int, pace: str):
    async with world() as here:
        replica = await _public(here)
        async with here.raw() as client:
            if pace == "at once":
                await client.send(data + SMUGGLED)
            else:
                for byte in data:
                    client.writer.write(bytes([byte]))
                    await asyncio.sleep(0)
                client.writer.write(SMUGGLED)
            try:
                answer = await client.answer("POST")
                rest = await client.closed()
            except ConnectionResetError:  # it hung up while more was being sent, after its answer
                pytest.fail("the answer could not be read")
        assert answer.status == status
        assert answer.values("connection") == ["close"]
        assert set(orjson.loads(answer.body)) == {"error"}
        assert rest == b""
        assert all(asked.target != "/smuggled" for asked in replica.asked)


ACCEPTED: list[tuple[str, bytes, str]] = [
    ("one empty line first", b"\r\n" + get(PATH + b"/a"), "/a"),
    ("absolute-form", get(b"http://base" + PATH + b"/a"), "/a"),
    ("absolute-form, other case", get(b"HTTP://BASE" + PATH + b"/a?q=1"), "/a?q=1"),
    ("double slash inside", get(PATH + b"/a//b"), "/a//b"),
    ("double slash in front", get(PATH + b"//a"), "/a"),
    ("encoded slash inside", get(PATH + b"/org%2Fname"), "/org%2Fname"),
    ("dots in a name", get(PATH + b"/a..b/..c/d.."), "/a..b/..c/d.."),
    ("dots in the query", get(PATH + b"/a?x=/../y"), "/a?x=/../y"),
    ("a semicolon behind dots", get(PATH + b"/..;/a"), "/..;/a"),
    ("dots encoded twice", get(PATH + b"/%252e%252e/a"), "/%252e%252e/a"),
    ("dots in overlong UTF-8", get(PATH + b"/%c0%ae%c0%ae/a"), "/%c0%ae%c0%ae/a"),
    ("a line end, encoded", get(PATH + b"/a%0d%0aX:%20y"), "/a%0d%0aX:%20y"),
    ("a URL in the query", get(PATH + b"/a?u=http://other/"), "/a?u=http://other/"),
    ("a URL behind the name", get(PATH + b"/http://other/"), "/http://other/"),
    ("slashes before a host", get(PATH + b"///other/a"), "/other/a"),
    ("absolute-form, the same port", get(b"http://base:80" + PATH + b"/a", b"Host: base:80\r\n"), "/a"),
    ("Host in another case", get(PATH + b"/a", b"hOsT: base\r\n"), "/a"),
    ("Host with a dot behind", get(PATH + b"/a", b"Host: base.\r\n"), "/a"),
    ("Host, an address", get(PATH + b"/a", b"Host: 127.0.0.1:8080\r\n"), "/a"),
    ("Host, an address in brackets", get(PATH + b"/a", b"Host: [::1]:8080\r\n"), "/a"),
    ("HTTP/2's settings alone", get(PATH + b"/a", H + b"HTTP2-Settings: A\r\n"), "/a"),
    ("Upgrade to TLS", get(PATH + b"/a", H + b"Connection: Upgrade\r\nUpgrade: TLS/1.0\r\n"), "/a"),
    ("Connection names what it likes", get(PATH + b"/a", H + b"Connection: Upgrade, , Host,x-request-id ,\tAuthorization\r\n"), "/a"),
    ("Connection names the encoding", b"POST " + PATH + b"/a HTTP/1.1\r\n" + H + b"Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n", "/a"),
    ("tab before chunked", b"POST " + PATH + b"/a HTTP/1.1\r\n" + H + b"Transfer-Encoding:\tchunked\r\n\r\n1\r\nx\r\n0\r\n\r\n", "/a"),
    ("chunks with all that is allowed", b"POST " + PATH + b"/a HTTP/1.1\r\n" + H + b'Transfer-Encoding: chunked\r\n\r\n0a;a;b=c;d="e f"\r\n0123456789\r\n000;z\r\nX: \xe4\r\nY:\r\n\r\n', "/a"),
    ("an empty body in chunks", b"POST " + PATH + b"/a HTTP/1.1\r\n" + H + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "/a"),
    ("names that only look like framing", get(PATH + b"/a", H + b"Content_Length: 5\r\nTransfer_Encoding: chunked\r\nX-Content-Length: 5\r\n"), "/a"),
    ("Upgrade", get(PATH + b"/a", H + b"Connection: Upgrade\r\nUpgrade: websocket\r\n"), "/a"),
    ("Upgrade to h2c", get(PATH + b"/a", H + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: A\r\n"), "/a"),
    ("Connection names Host", get(PATH + b"/a", H + b"Connection: Host\r\n"), "/a"),
    ("Connection names Content-Length", b"POST " + PATH + b"/a HTTP/1.1\r\n" + H + b"Connection: Content-Length\r\nContent-Length: 2\r\n\r\nhi", "/a"),
    ("GET with a body", get(PATH + b"/a", H + b"Content-Length: 2\r\n") + b"{}", "/a"),
    ("value that is not ASCII", get(PATH + b"/a", H + b"X: \xe4\r\n"), "/a"),
    ("tabs around a value", get(PATH + b"/a", b"Host:\tbase \t\r\n"), "/a"),
    ("chunked in capitals", b"POST " + PATH + b"/a HTTP/1.1\r\n" + H + b"Transfer-Encoding: Chunked \r\n\r\n1\r\nx\r\n0\r\n\r\n", "/a"),
    ("a hundred fields", get(PATH + b"/a", H + b"".join(b"X-%d: y\r\n" % n for n in range(99))), "/a"),
    ("leading zeros", b"POST " + PATH + b"/a HTTP/1.1\r\n" + H + b"Content-Length: 0002\r\n\r\nhi", "/a"),
]  # fmt: skip


@pytest.mark.parametrize(("data", "target"), [row[1:] for row in ACCEPTED], ids=[row[0] for row in ACCEPTED])
@pytest.mark.parametrize("pace", ["at once", "byte by byte"])
async def test_accepted(data: bytes, target: str, pace: str):
    async with world() as here:
        replica = await _public(here)
        async with here.raw() as client:
            for _ in range(2):
                for piece in [data] if pace == "at once" else [bytes([byte]) for byte in data]:
                    client.writer.write(piece)
                    await asyncio.sleep(0)
                assert (await client.answer()).status == 200
        assert [asked.target for asked in replica.asked] == [target] * 2
        for asked in replica.asked:
            assert len(asked.values("host")) == 1
            assert not {"upgrade", "http2-settings", "connection"} & {k for k, _ in asked.headers}


NOBODYS = [
    "//default/mini",
    "/%64efault/mini",
    "/default%2Fmini",
    "/default/%6Dini",
    "/Default/mini",
    "/default",
    "/default/",
    "/%76%32/endpoint",
    "//v2/endpoint",
]


@pytest.mark.parametrize("target", NOBODYS)
async def test_other_spellings_of_a_name_are_nobodys(target: str):
    async with world() as here:
        replica = await _public(here)
        assert (await here.ask(request(target, method="GET"), "GET")).status == 404
        assert not replica.asked
        assert not here.control.asked


# -- slow ones


async def _is_timed_out(client: Raw) -> None:
    answer = await client.answer("POST")
    assert answer.status == 408
    assert answer.values("connection") == ["close"]


async def _begun(here: World, size: int) -> ClientConnection:
    """The only connection, once the router has so many bytes of a head."""
    connections = here.router._connections.open
    await until(lambda: [connection._seen for connection in connections] == [size])
    return next(iter(connections))


async def test_a_slow_head_ends_whatever_its_pace():
    async with world(head_timeout=60.0) as here:
        await _public(here)
        async with here.raw() as client:
            begin = asyncio.get_running_loop().time()
            head = b"GET /default/mini HTTP/1.1\r\nHost: base\r\nX: y"
            for second, byte in enumerate(head):
                await client.send(bytes([byte]))
                connection = await _begun(here, second + 1)
                connection.check_deadline(begin + second)
            connection.check_deadline(asyncio.get_running_loop().time() + 61)
            await _is_timed_out(client)


async def test_who_connects_long_before_asking_is_answered():
    async with world(head_timeout=5.0) as here:
        await _public(here)
        begin = asyncio.get_running_loop().time()
        async with here.raw() as client:
            connection = await _begun(here, 0)
            connection.check_deadline(begin)
            connection.check_deadline(begin + IDLE_S - 1)
            await client.send(get())
            assert (await client.answer()).status == 200


async def test_a_connection_that_says_nothing_is_closed():
    async with world() as here, here.raw() as client:
        connection = await _begun(here, 0)
        connection.check_deadline(asyncio.get_running_loop().time())
        connection.check_deadline(asyncio.get_running_loop().time() + IDLE_S + 1)
        assert await client.closed() == b""


async def test_where_there_is_a_crowd_silence_is_borne_no_longer_than_slowness(monkeypatch):
    monkeypatch.setattr("inlet.router.server.CROWDED", 1)
    async with world(head_timeout=0.2) as here, here.raw(), here.raw() as client:
        assert await client.closed() == b""


@pytest.mark.parametrize("byte", [b"G", b"\r"])
async def test_the_time_for_a_head_begins_with_its_first_byte_however_little_follows(byte: bytes):
    async with world(head_timeout=60.0) as here, here.raw() as client:
        connection = await _begun(here, 0)
        connection.check_deadline(asyncio.get_running_loop().time())
        await client.send(byte)
        await _begun(here, 1)
        connection.check_deadline(asyncio.get_running_loop().time())
        connection.check_deadline(asyncio.get_running_loop().time() + 61)
        await _is_timed_out(client)


@pytest.mark.parametrize("fields", [b"content-length: 10\r\n", b"transfer-encoding: chunked\r\n"])
async def test_a_slow_body_ends_and_the_replica_is_let_go(fields: bytes):
    async with world(body_timeout=0.2) as here:
        replica = await _public(here)
        async with here.raw() as client:
            await client.send(request(extra=fields) + b"1\r\n")
            await _is_timed_out(client)
        await until(lambda: replica.visits and replica.visits[0].gone.is_set())
        assert here.load().pending == 0
        assert here.load().stats.codes == {408: 1}


async def test_a_client_that_does_not_read_its_answer_is_cut_off():
    async def behave(asked, visit):
        await visit.answer(b"y" * 50_000_000)

    async with world(body_timeout=0.3) as here:
        replica = await _public(here)
        replica.behave = behave
        async with here.raw() as client:
            client.writer.transport.pause_reading()
            await client.send(request(body=b"x"))
            await until(lambda: here.load() and here.load().pending == 1)
            await until(lambda: here.load().pending == 0)
            await until(lambda: not here.router._connections.open)


async def test_requests_sent_ahead_without_end_are_not_read_without_end():
    started = asyncio.Event()

    async def behave(asked, visit):
        started.set()
        await visit.until_gone()

    async with world() as here:
        replica = await _public(here)
        replica.behave = behave
        async with here.raw() as client:
            await client.send(request("/default/mini/x", method="GET"))
            await started.wait()
            flood = asyncio.create_task(client.send(request("/nobody/knows", method="GET") * 300_000))
            connection = next(iter(here.router._connections.open))
            await until(lambda: connection._paused)
            assert len(connection._buffer) < 600_000
            flood.cancel()


async def test_a_client_that_reads_nothing_gets_no_more_answers():
    async with world() as here:
        await here.publish()
        async with here.raw() as client:
            client.writer.transport.pause_reading()
            flood = asyncio.create_task(client.send(request("/nobody/knows", method="GET") * 200_000))
            await until(
                lambda: here.router._connections.open and next(iter(here.router._connections.open))._paused
            )
            connection = next(iter(here.router._connections.open))
            assert connection._transport.get_write_buffer_size() < 200_000
            flood.cancel()
