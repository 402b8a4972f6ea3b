"""Draws the generated parts of docs/ and README.md: lifecycle, settings, command line, API routes, tasks, measured bars.

`python docs/build.py` writes them, `python docs/build.py --check` fails if a page is not what the code says; the test
suite runs the check. A generated part stands between two marker lines; the rest of a page is written by hand.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from enum import Enum
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from inlet.core.lifecycle import TABLE, Intent
from inlet.settings import PREFIX, Settings

DOCS = Path(__file__).parent
ROOT = DOCS.parent
COMMON = ("--output", "--namespace", "--url", "--token")
"""Options that nearly every command has: explained once."""

_HEADS = {
    "SEQUENCE": "a `…ForSequenceClassification`",
    "TOKEN": "a `…ForTokenClassification`",
    "ANSWER": "a `…ForQuestionAnswering`",
    "MASKED": "a `…ForMaskedLM`",
    "HIDDEN": "an encoder; a head on it is not used",
}
_VERBS = ("get", "post", "put", "patch", "delete")


def lifecycle() -> str:
    """The table as a Mermaid state diagram (intents solid in words, facts in brackets) and as rows."""
    lines = ["```mermaid", "stateDiagram-v2", "    [*] --> pending: create"]
    arrows: dict[tuple[str, str], list[str]] = {}
    for row in TABLE:
        label = str(row.event) if isinstance(row.event, Intent) else f"({row.event})"
        arrows.setdefault((row.state, row.next), []).append(label)
    lines += [f"    {state} --> {after}: {', '.join(labels)}" for (state, after), labels in arrows.items()]
    lines += ["    gone --> [*]", "```", "", "| state | event | next | meaning |", "|---|---|---|---|"]
    for row in TABLE:
        kind = "intent" if isinstance(row.event, Intent) else "fact"
        lines.append(f"| {row.state} | {row.event} ({kind}) | {row.next} | {row.meaning} |")
    return "\n".join(lines)


def settings() -> str:
    """Every setting with its default and its help."""

    def rows() -> Iterator[tuple[str, str, str]]:
        for item in fields(Settings):
            default = f"`{item.default}`" if str(item.default) else "–"
            yield f"`{PREFIX}{item.name.upper()}`", default, item.metadata["help"]

    return _table(("variable", "default", "meaning"), rows())


def commands() -> Iterator[tuple[str, Any]]:
    """Every command that does something, as it is typed, with its click object."""
    import typer.main

    from inlet.cli.app import app

    def walk(path: str, command: Any) -> Iterator[tuple[str, Any]]:
        children: Mapping[str, Any] = getattr(command, "commands", {})
        if not children:
            yield path, command
        for name, child in children.items():
            yield from walk(f"{path} {name}", child)

    yield from walk("inlet", typer.main.get_command(app))


def cli() -> str:
    """Every command with its arguments, options and examples."""
    listed = list(commands())
    parts = [
        _table(("command", ""), ((f"[`{path}`](#{_anchor(path)})", _first_line(c)) for path, c in listed))
    ]
    common = {
        name: parameter
        for _, command in listed
        for parameter in command.params
        for name in COMMON
        if name in parameter.opts
    }
    parts += ["## Common options", _parameters(common[name] for name in COMMON)]
    parts += [_command(path, command) for path, command in listed]
    return "\n\n".join(parts)


def _command(path: str, command: Any) -> str:
    text, _, examples = str(command.help).partition("\b")
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    own = [p for p in command.params if p not in arguments and not set(COMMON) & set(p.opts)]
    common = [name for name in COMMON if any(name in p.opts for p in command.params)]
    usage = " ".join([path, *(str(p.metavar) for p in arguments), *(["[OPTIONS]"] if own or common else [])])
    parts = [f"## {path}", _prose(text), f"    {usage}"]
    if arguments or own:
        parts.append(_parameters([*arguments, *own]))
    if common:
        links = ", ".join(f"`{name}`" for name in common)
        parts.append(f"Also: {links} ([common options](#common-options)).")
    lines = [line.strip() for line in examples.splitlines() if line.strip() and "Example" not in line]
    if lines:
        parts.append("```sh\n" + "\n".join(lines) + "\n```")
    return "\n\n".join(parts)


def _parameters(parameters: Iterable[Any]) -> str:
    def rows() -> Iterator[tuple[str, str]]:
        for p in parameters:
            if p.param_type_name == "argument":
                yield f"`{p.metavar}`", _prose(p.help)
                continue
            spellings = [*sorted(p.opts, key=len, reverse=True), *p.secondary_opts]
            takes = f" {p.metavar}" if p.metavar else ""
            if isinstance(p.default, Enum):
                takes = " " + "|".join(str(member.value) for member in type(p.default))
            yield ", ".join(f"`{name}{takes}`" for name in spellings).replace("|", "\\|"), _explained(p)

    return _table(("", "meaning"), rows())


def _explained(parameter: Any) -> str:
    text = _prose(parameter.help)
    default = parameter.default
    if isinstance(default, Enum):
        text += f" Default `{default.value}`."
    elif isinstance(default, bool) and parameter.secondary_opts:
        text += f" Default `{(parameter.opts if default else parameter.secondary_opts)[0]}`."
    elif isinstance(default, list | tuple) and default:
        text += f" Default `{' '.join(map(str, default))}`."
    elif default is not None and not isinstance(default, bool | list | tuple):
        text += f" Default `{default}`."
    if parameter.envvar:
        text += f" From `{parameter.envvar}` if that is set."
    return text


@cache
def openapi() -> dict[str, Any]:
    """The document that a server answers at /openapi.json."""
    from inlet.backends.fake import FakeBackend
    from inlet.control.app import build_app
    from inlet.control.openapi import document
    from inlet.control.vault import Vault, generate_key
    from inlet.store.memory import MemoryStore

    with tempfile.TemporaryDirectory() as home:
        given = Settings(home=Path(home))
        app = build_app(
            store=MemoryStore(),
            backend=FakeBackend(),
            vault=Vault([generate_key()]),
            settings=given,
            wake=lambda _: None,
            clock=lambda: 0.0,
        )
        return document(app, version="", url=given.url)


def routes() -> str:
    """Every route of the control API, by subject."""
    by_subject: dict[str, list[tuple[str, str, str]]] = {}
    for path, operations in openapi()["paths"].items():
        for verb in _VERBS:
            if verb not in operations:
                continue
            operation = operations[verb]
            what = str(operation.get("description") or operation["summary"]).split("\n")[0]
            query = [p["name"] for p in operation.get("parameters", ()) if p["in"] == "query"]
            subject = operation["tags"][0] + ("" if operation.get("security") else " (no token needed)")
            by_subject.setdefault(subject, []).append(
                (
                    f"`{verb.upper()} {path}`",
                    what.rstrip(".") + ".",
                    ", ".join(f"`{name}`" for name in query),
                )
            )
    return "\n\n".join(
        f"### {subject[0].upper()}{subject[1:]}\n\n" + _table(("route", "", "query"), rows)
        for subject, rows in by_subject.items()
    )


def tasks() -> str:
    """Every task that a replica serves, with its parameters."""
    from inlet.runtime.tasks import TASKS

    def rows() -> Iterator[tuple[str, str, str]]:
        for name, kind in TASKS.items():
            made: Any = kind.make
            yield f"`{name}`", _HEADS[kind.head.name], ", ".join(f"`{p}`" for p in sorted(made.parameters))

    return _table(("task", "the model is", "parameters"), rows())


def pipelines() -> str:
    """Every task that torch computes, with its parameters."""
    from inlet.runtime.pipelines.tasks import TASKS as PIPELINES
    from inlet.runtime.tasks import TASKS

    def rows() -> Iterator[tuple[str, str]]:
        for name, kind in PIPELINES.items():
            parameters = [f"`{p}`" for p in sorted(kind.parameters)]
            generation = ["those of generation"] if kind.generates else []
            yield f"`{name}`" + (" (else)" if name in TASKS else ""), ", ".join([*parameters, *generation])

    return _table(("task", "parameters"), rows())


def protocols() -> str:
    """Every route of another protocol."""
    from inlet.runtime.protocols.table import ROUTES

    return _table(("route", "", "as in"), ((f"`{e.method} {e.path}`", e.meaning, e.protocol) for e in ROUTES))


def limits() -> str:
    """What one request to a replica may hold, and all of them together."""
    from inlet.runtime import app, batcher, body, texts
    from inlet.runtime.tasks import base, embeddings

    return _table(
        ("", "at most"),
        (
            ("bytes of a request's body", f"{body.MAX_BODY_BYTES:,}"),
            ("texts in one request", f"{base.MAX_TEXTS:,}"),
            ("characters of a text", f"{base.MAX_CHARACTERS:,}"),
            ("tokens of all texts of a request", f"{texts.MAX_TOKENS:,}"),
            ("numbers in an answer of token vectors", f"{embeddings.MAX_NUMBERS:,}"),
            ("bytes of all bodies in hand, beyond which 429 is answered", f"{app.MOST_BYTES:,}"),
            ("tokens of all texts in hand, likewise", f"{batcher.MOST_TOKENS:,}"),
        ),
    )


def rungs() -> str:
    """The ladder of the local backend's limits."""
    from inlet.backends.local import cgroups
    from inlet.backends.local.limits import PINNED, WATCHED

    return _table(
        ("the best that works", "needs", "memory", "vCPU"),
        (
            (
                f"`{cgroups.Version2.name}`",
                "root, or a subtree of groups handed over",
                "enforced",
                "enforced",
            ),
            (f"`{cgroups.Version1.name}`", "root", "enforced", "enforced"),
            (
                "either, for memory or for vCPU only",
                "a subtree with one of them",
                "enforced, or as below",
                "the same",
            ),
            ("no group", "nothing", f"{WATCHED.word}: `{WATCHED.by}`", f"{PINNED.word}: `{PINNED.by}`"),
        ),
    )


def bars() -> str:
    """What callers notice of each change: what is demanded, and what the stored runs counted."""
    stored = json.loads((DOCS / "figures" / "bars.json").read_text())
    runs = len(stored["bars"][0]["runs"])
    head = (
        "change",
        "must succeed",
        "may fail",
        "succeeded",
        "in flight then",
        "slowest answer",
        "back after",
    )
    return (
        f"{runs} run{'s' if runs > 1 else ''} on {stored['date']}: {stored['cores']} cores ({stored['cpu']}), "
        f"{stored['memory_gb']} GB, load average at the start {stored['load']}.\n\n"
        + _table(head, (_bar(bar) for bar in stored["bars"]))
    )


def _bar(bar: Mapping[str, Any]) -> tuple[str, ...]:
    runs = bar["runs"]
    sent, failed = sum(run["sent"] for run in runs), Counter[str]()
    for run in runs:
        failed.update(run["failed"])
    counts = f"{sent - failed.total():,} of {sent:,}"
    if failed:
        counts += f" ({', '.join(f'{n} × {what}' for what, n in failed.items())})"
    return (
        bar["name"],
        "all others" if bar["share"] is None else f"{bar['share']:.2%}",
        bar["may_fail"],
        counts,
        ", ".join(str(run["in_flight"]) for run in runs if run["in_flight"] is not None) or "–",
        _seconds([run["slowest"] for run in runs]),
        _seconds([run["back"] for run in runs if run["back"] is not None]),
    )


def _seconds(values: Sequence[float]) -> str:
    """From the least to the greatest, to a hundredth."""
    if not values:
        return "–"
    low, high = f"{min(values):.2f}", f"{max(values):.2f}"
    return f"{low} s" if low == high else f"{low} to {high} s"


def http_requests() -> str:
    """What the router does with each oddity of a request, as the module that does it says."""
    from inlet.router import head

    return _table_of(head)


def http_answers() -> str:
    """The same for a replica's answer."""
    from inlet.router import response

    return _table_of(response)


def _table_of(module: ModuleType) -> str:
    return "\n".join(line for line in str(module.__doc__).splitlines() if line.startswith("|"))


PARTS: Sequence[tuple[Path, str, Callable[[], str]]] = (
    (DOCS / "design" / "lifecycle.md", "lifecycle", lifecycle),
    (DOCS / "reference" / "settings.md", "settings", settings),
    (DOCS / "reference" / "cli.md", "commands", cli),
    (DOCS / "reference" / "api.md", "routes", routes),
    (DOCS / "reference" / "serving.md", "tasks", tasks),
    (DOCS / "reference" / "serving.md", "limits", limits),
    (DOCS / "reference" / "serving.md", "protocols", protocols),
    (DOCS / "how-to" / "torch.md", "pipelines", pipelines),
    (ROOT / "README.md", "bars", bars),
    (DOCS / "how-to" / "limits.md", "rungs", rungs),
    (DOCS / "reference" / "http.md", "requests", http_requests),
    (DOCS / "reference" / "http.md", "answers", http_answers),
)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("|" + "|".join(f" {cell} " if cell else " " for cell in line) + "|" for line in lines)


def _first_line(command: Any) -> str:
    return _prose(str(command.help).split("\n\n")[0])


def _prose(text: str) -> str:
    """Help text as Markdown: paragraphs kept, line breaks within them not, angle brackets and pipes escaped."""
    paragraphs = (" ".join(part.split()) for part in str(text).strip().split("\n\n"))
    return re.sub(r"(?<!\\)\|", "\\|", "\n\n".join(part for part in paragraphs if part))


def _anchor(heading: str) -> str:
    return re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-")


def build(page: str, name: str, part: str) -> str:
    """`page` with what stands between the markers of `name` replaced by `part`."""
    begin, end = f"<!-- {name}: generated by docs/build.py -->\n", f"\n<!-- end of {name} -->"
    before, rest = page.split(begin)
    return before + begin + part + end + rest.split(end)[1]


def main() -> int:
    """0, or 1 when `--check` finds a page that is out of date."""
    stale = []
    for path, name, draw in PARTS:
        old = path.read_text()
        new = build(old, name, draw())
        if new != old:
            stale.append(str(path.relative_to(ROOT)))
            if "--check" not in sys.argv:
                path.write_text(new)
    if stale and "--check" in sys.argv:
        sys.stderr.write(f"out of date: {', '.join(stale)}; run `make docs`\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
