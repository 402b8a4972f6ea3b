"""A custom handler as the program of a worker; `worker/child.py` says what that is. Runs in the handler's process.

The class is made with the repository's folder and called with `data`, as the stock container does it. What it raises is
answered with 400 and its text, because callers of that container look for this; `error_status` may say 500 instead, and an
exception with a `status_code` has its own.
"""

from __future__ import annotations

import importlib.util
import inspect
import io
import json
import sys
import traceback
from pathlib import Path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from typing import Any

    from inlet.runtime.handler.child import results

    Reply = tuple[dict[str, Any], list[bytes]]

_EVENTS, _TEXT, _BYTES = "text/event-stream", "text/plain; charset=utf-8", "application/octet-stream"
# Of the many formats of Pillow those that are nothing but images: for others it runs programs.
_IMAGES = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")


class Unusable(Exception):
    """The handler can never start as it is."""

    final = True


class Failed(Exception):
    """A request that the handler did not serve."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


def _module(name: str, path: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None  # noqa: S101, PT018 - it ends in .py
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


if not TYPE_CHECKING:
    results = _module("inlet_results", str(Path(__file__).with_name("results.py")))


def load(
    settings: dict[str, Any], report: Callable[[str], None]
) -> Callable[[dict[str, Any], list[bytes]], Any]:
    """Make the handler. `settings`: `folder`, `file`, `class`, `error_status`."""
    folder, file = settings["folder"], settings["file"]
    report(f"starting {file}")
    sys.path.insert(0, folder)
    try:
        module = _module(file.removesuffix(".py"), str(Path(folder) / file))
    except ModuleNotFoundError as error:
        traceback.print_exc()
        raise Unusable(
            f"{file} needs the Python package {error.name!r}: name what it is in in the repository's requirements.txt"
        ) from error
    except (SyntaxError, ImportError) as error:
        traceback.print_exc()
        raise Unusable(f"{file} cannot be imported: {type(error).__name__}: {error}") from error
    made = getattr(module, settings["class"], None)
    if made is None:
        raise Unusable(f"{file} has no class {settings['class']}")
    try:
        handler = made(folder)
    except MemoryError:
        raise
    except BaseException as error:
        traceback.print_exc()
        raise RuntimeError(f"{settings['class']}(…) raised {type(error).__name__}: {error}") from error
    return Caller(handler, settings["error_status"]).answer


class Caller:
    """Calls the handler with what a request holds."""

    def __init__(self, handler: Callable[[Any], Any], error_status: int) -> None:
        self._handler, self._error_status = handler, error_status

    def answer(self, head: dict[str, Any], blobs: list[bytes]) -> Any:
        """`head`: `kind` of the body (json, image, audio), `query` as pairs, `accept`."""
        try:
            data = _data(head, blobs[0])
        except (ValueError, RecursionError) as error:  # numbers of thousands of digits, or endless nesting
            raise Failed(400, f"the body cannot be read: {error}") from error
        try:
            result = self._handler(data)
            if inspect.isawaitable(result):
                return self._awaited(result, head["accept"])
        except Exception as error:
            raise self._failed(error) from error
        return self._reply(result, head["accept"])

    async def _awaited(self, result: Any, accept: str) -> Any:
        try:
            value = await result
        except Exception as error:
            raise self._failed(error) from error
        return self._reply(value, accept)

    def _reply(self, result: Any, accept: str) -> Any:
        if inspect.isasyncgen(result):
            return self._stream_async(result)
        if inspect.isgenerator(result):
            return self._stream(result)
        try:
            kind, body = results.encode(result, accept)
        except (TypeError, ValueError, RecursionError, OSError) as error:
            raise self._failed(error) from error
        return {"type": kind}, [body]

    def _stream(self, items: Iterator[Any]) -> Iterator[Reply]:
        form: Form | None = None
        try:
            for item in items:
                form = form or Form(item)
                yield form.piece(item)
        except Exception as error:  # noqa: BLE001 - whatever a handler raises
            yield self._broken(error, form)
        finally:
            items.close()  # type: ignore[attr-defined]  # a generator has it

    async def _stream_async(self, items: AsyncIterator[Any]) -> AsyncIterator[Reply]:
        form: Form | None = None
        try:
            async for item in items:
                form = form or Form(item)
                yield form.piece(item)
        except Exception as error:  # noqa: BLE001 - whatever a handler raises
            yield self._broken(error, form)
        finally:
            await items.aclose()  # type: ignore[attr-defined]  # a generator has it

    def _broken(self, error: Exception, form: Form | None) -> Reply:
        """Events can tell of an error; any other stream breaks off."""
        failed = self._failed(error)
        if form is None or form.type != _EVENTS:
            raise failed from error
        return form.piece({"error": str(failed)})

    def _failed(self, error: Exception) -> BaseException:
        """The same as an answer."""
        if isinstance(error, MemoryError):
            return error
        traceback.print_exception(error)
        status, detail = getattr(error, "status_code", None), getattr(error, "detail", None)
        if not isinstance(status, int) or not 400 <= status <= 599:
            return Failed(self._error_status, str(error) or type(error).__name__)
        return Failed(status, detail if isinstance(detail, str) else str(error) or type(error).__name__)


class Form:
    """How the pieces of a stream travel, which its first one decides.

    Bytes and texts go as they are, a text that is an event already as one; anything else becomes an event with JSON.
    """

    def __init__(self, first: Any) -> None:
        self._raw = isinstance(first, (str, bytes))
        if isinstance(first, bytes):
            self.type = _BYTES
        elif isinstance(first, str) and not first.startswith(("data:", "event:", ":")):
            self.type = _TEXT
        else:
            self.type = _EVENTS

    def piece(self, item: Any) -> Reply:
        if self._raw and isinstance(item, str):
            item = item.encode()
        elif not (self._raw and isinstance(item, bytes)):
            item = b"data: " + results.dump(item) + b"\n\n"
        return {"type": self.type}, [item]


def _data(head: dict[str, Any], body: bytes) -> dict[str, Any]:
    """What the handler is called with."""
    if head["kind"] == "json":
        data: dict[str, Any] = json.loads(body)
    else:
        data = {"inputs": _image(body) if head["kind"] == "image" else body}
    if head["query"] and "parameters" not in data:
        data["parameters"] = {name: _value(text) for name, text in head["query"]}
    return data


def _image(body: bytes) -> Any:
    try:
        from PIL import Image
    except ImportError as error:
        raise Failed(
            415,
            "raw images need Pillow: name it in the repository's requirements.txt, or send base64 in a JSON object",
        ) from error
    try:
        return Image.open(io.BytesIO(body), formats=_IMAGES).convert("RGB")
    except MemoryError:
        raise
    except Exception as error:  # Pillow has many
        raise Failed(400, f"the image cannot be read: {error}") from error


def _value(text: str) -> Any:
    if text in ("true", "false"):
        return text == "true"
    return int(text) if text.isascii() and text.isdigit() else text
