"""Where a model's files come from: a folder as it is, or the Hub into the cache, pinned to a commit.

Called by `loader` in a thread. Downloads resume, are shared between replicas through the cache, and are not asked for
again once complete: a restart needs no network. Only files that will be used are fetched, as a `Selection` tells. While the Hub is
away, or the disk is full, it says so and tries again, for as long as the process is let live.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import logging
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inlet.core.errors import InletError, Refused, Unavailable
from inlet.runtime.build.config import read_config

_CONFIG = "config.json"
_LONGEST_PAUSE_S = 30.0  # between two tries
_TIMEOUT_S = 10.0  # without a byte from the Hub
_STALLED_S = 4.0  # after so long without data it is said: well before the try is given up
_log = logging.getLogger(__name__)

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Selection:
    """Which files of a repository are fetched.

    `choose` gets the sizes of all files and `config.json`, and answers names. `label` tells selections from one commit apart.
    """

    label: str
    choose: Callable[[Mapping[str, int], Mapping[str, Any]], Collection[str]]


ALL = Selection("all", lambda sizes, _: sizes)
"""Everything, for programs that know themselves what they want."""


def fetch(
    location: str,
    *,
    commit: str | None,
    cache: Path | None,
    token: str | None,
    progress: Progress,
    selection: Selection,
) -> Path:
    """The folder with the model's files. `Refused` when a person must act; waits while the Hub is away."""
    path = location.removeprefix("file://")
    if path.startswith("/"):
        folder = Path(path)
        if not folder.is_dir():
            raise Refused(f"there is no folder {path}", field="model")
        return folder
    known = (
        _complete(cache, location, commit, selection) if cache is not None and commit is not None else None
    )
    if known is not None:
        return known
    return _Download(location, commit, cache, token, progress, selection).run()


class _Download:
    """One repository at one commit, through huggingface_hub."""

    def __init__(
        self,
        repository: str,
        commit: str | None,
        cache: Path | None,
        token: str | None,
        progress: Progress,
        selection: Selection,
    ) -> None:
        self._repository, self._commit, self._cache = repository, commit, cache
        # False, so that a token of whoever started this machine's server is not used by chance.
        self._token: str | bool = token or False
        self._progress = progress
        self._selection = selection

    def run(self) -> Path:
        pause = 1.0
        while True:
            try:
                return self._attempt()
            except Unavailable as error:
                _log.warning("%s; trying again in %.0f s", error, pause)
                self._progress(f"{error}; trying again in {pause:.0f} s")
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_S)

    def _attempt(self) -> Path:
        from huggingface_hub import HfApi

        meter = _Meter(self._progress)
        config: Mapping[str, Any] = {}
        with self._explained():
            info = HfApi(token=self._token).model_info(
                self._repository, revision=self._commit, files_metadata=True, timeout=_TIMEOUT_S
            )
            commit = self._commit or str(info.sha)
            hashes = {item.rfilename: item.lfs.sha256 for item in info.siblings or () if item.lfs}
            sizes = {item.rfilename: item.size or 0 for item in info.siblings or ()}
            if _CONFIG in sizes:
                config = read_config(self._fetch(_CONFIG, commit, hashes.get(_CONFIG), meter).parent)
        files = sorted(self._selection.choose(sizes, config), key=lambda name: (sizes[name], name))
        if not files:
            raise Refused("the repository has no model that can be served", field="model")
        meter.expect({name: sizes[name] for name in files})
        with self._explained():
            for name in files:
                local = self._fetch(name, commit, hashes.get(name), meter)
                folder = local.parents[name.count("/")]
        if self._cache is not None:
            _mark_complete(_marker(self._cache, self._repository, commit, self._selection), folder, files)
        return folder

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Around what is asked of the Hub, and nothing else: other faults are not its own, and would be tried for ever."""
        try:
            yield
        except InletError:
            raise
        except Exception as error:  # the HTTP library below huggingface_hub differs between its versions
            raise _explain(error, self._repository, self._commit, has_token=bool(self._token)) from error

    def _fetch(self, name: str, commit: str, sha256: str | None, meter: _Meter) -> Path:
        """The file here, as the Hub has it."""
        from huggingface_hub import hf_hub_download

        with meter.watched():
            local = Path(
                hf_hub_download(
                    self._repository,
                    name,
                    revision=commit,
                    cache_dir=self._cache,
                    token=self._token,
                    tqdm_class=meter.bar_for(name),
                )
            )
        _check(local, name, sha256)
        meter.finish(name)
        return local


def _check(file: Path, name: str, sha256: str | None) -> None:
    """`Unavailable`, and the file dropped, if it is not what the Hub has; its size was compared already."""
    if sha256 is None:
        return  # a small file, which the Hub keeps no such hash of
    with file.open("rb") as content:
        if hashlib.file_digest(content, "sha256").hexdigest() == sha256:
            return
    file.resolve().unlink(missing_ok=True)
    file.unlink(missing_ok=True)
    raise Unavailable(f"{name} arrived damaged")


class _Meter:
    """Turns the bytes of all files into one percentage, told at most once a second, at the end, and when nothing comes."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self.expect({})
        self._told_at = 0.0
        self._told = -1
        self._moved_at = time.monotonic()

    def expect(self, sizes: Mapping[str, int]) -> None:
        """From now on count these files, none of whose bytes is here; any other counts for nothing."""
        self._sizes = sizes
        self._total = max(sum(sizes.values()), 1)
        self._seen = dict.fromkeys(sizes, 0)

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Until the end of the block, tell when no data comes: the client below waits and tries again in silence."""
        over = threading.Event()
        self._moved_at = time.monotonic()

        def watch() -> None:
            while not over.wait(_STALLED_S / 2):
                silent = time.monotonic() - self._moved_at
                if silent >= _STALLED_S:
                    self._told = -1  # whatever comes next is news
                    self._progress(f"downloading {self._percent()} %, no data for {silent:.0f} s")

        threading.Thread(target=watch, name="download watch", daemon=True).start()
        try:
            yield
        finally:
            over.set()

    def bar_for(self, name: str) -> type[Any]:
        """A progress bar class for huggingface_hub that draws nothing and reports here."""
        from huggingface_hub.utils.tqdm import tqdm

        meter = self

        class Bar(tqdm):
            def __init__(self, *args: Any, **kwargs: Any) -> None:
                self._position = kwargs.get("initial") or 0
                super().__init__(*args, **{**kwargs, "disable": True})  # type: ignore[no-untyped-call]  # tqdm's own
                meter.reach(name, self._position)

            def update(self, n: float | None = 1) -> None:
                self._position += n or 0
                meter.reach(name, self._position)

        return Bar

    def reach(self, name: str, position: float) -> None:
        # More than one bar may report on a file (bytes received, bytes rebuilt): the furthest counts.
        self._moved_at = time.monotonic()
        if name in self._sizes:
            self._seen[name] = min(max(self._seen[name], int(position)), self._sizes[name])
            self._tell()

    def finish(self, name: str) -> None:
        self.reach(name, self._sizes.get(name, 0))

    def _tell(self) -> None:
        percent, now = self._percent(), time.monotonic()
        if percent == self._told or (percent < 100 and now - self._told_at < 1):
            return
        self._told, self._told_at = percent, now
        self._progress(f"downloading {percent} %")
        _log.info("downloading: %d %% of %.1f MB", percent, self._total / 1e6)

    def _percent(self) -> int:
        return 100 * sum(self._seen.values()) // self._total


def _explain(error: Exception, repository: str, commit: str | None, *, has_token: bool) -> Exception:
    from huggingface_hub import errors

    if isinstance(error, errors.GatedRepoError):
        token = (
            "the token in the secret HF_TOKEN has no access to it"
            if has_token
            else "set the endpoint's secret HF_TOKEN to a Hub token"
        )
        return Refused(
            f"{repository} is gated: accept its licence on the Hub, then start again; {token}", field="model"
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return Refused(f"{repository} has no commit {commit}", field="model")
    if isinstance(error, errors.RepositoryNotFoundError):
        hint = (
            "the token in the secret HF_TOKEN cannot see it"
            if has_token
            else "if it is private, set the endpoint's secret HF_TOKEN to a Hub token that may read it"
        )
        return Refused(f"there is no model {repository} on the Hub; {hint}", field="model")
    if isinstance(error, errors.HFValidationError):
        return Refused(f"{repository!r} is neither an absolute folder nor a Hub repository", field="model")
    if isinstance(error, errors.HfHubHTTPError):
        status = error.response.status_code if error.response is not None else 0
        if status in (401, 403):
            return Refused(
                f"the Hub refused the token in the secret HF_TOKEN for {repository}"
                if has_token
                else f"the Hub wants a token for {repository}: set the endpoint's secret HF_TOKEN",
                field="model",
            )
        return Unavailable(f"the Hub answered {status} for {repository}")
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Unavailable(
            f"the disk is full, and {repository} does not fit: make room in the download folder"
        )
    return Unavailable(f"the Hub could not be reached for {repository}: {type(error).__name__}")


def _marker(cache: Path, repository: str, commit: str, selection: Selection) -> Path:
    label = f".{selection.label}" if selection.label else ""
    return cache / "complete" / f"{repository.replace('/', '--')}@{commit}{label}.json"


def _mark_complete(path: Path, folder: Path, files: Iterable[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    written = path.with_suffix(f".{time.time_ns()}")
    written.write_text(json.dumps({"folder": str(folder), "files": sorted(files)}))
    written.replace(path)


def _complete(cache: Path, repository: str, commit: str, selection: Selection) -> Path | None:
    """The folder of an earlier complete download, if everything is still there."""
    try:
        found = json.loads(_marker(cache, repository, commit, selection).read_text())
        folder = Path(found["folder"])
        return folder if all((folder / name).is_file() for name in found["files"]) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None  # none, or not readable: download again
