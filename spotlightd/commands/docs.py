"""The pages of docs/ that nobody writes by hand: datasets, settings, commands and metrics, each from its declaration.

Pure functions from those declarations to Markdown; docs/generate.py writes what they answer, and a test compares.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import textwrap
import typing
from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Any, Literal

from spotlightd.metrics.registry import ListedMetric
from spotlightd.model.dataset import Column, Dataset
from spotlightd.model.source import Batch
from spotlightd.settings.settings import Settings

QUESTIONS = (
    ("Which flow hangs?", "spotlightd_flow_silent_seconds > 3 * (spotlightd_flow_pause_seconds > 0)"),
    ("Which flow is held up, or has failed?", 'spotlightd_flow_state{state=~"holding|failed"} == 1'),
    ("After how long are 99 of 100 messages queryable?",
     'histogram_quantile(0.99, sum by (source, le) (rate(spotlightd_lag_seconds_bucket{stage="queryable"}[5m])))'),
    ("Where were messages lost?", "sum by (source, cause) (increase(spotlightd_gaps_total[1h])) > 0"),
    ("Which disk holds work?", "spotlightd_disk_level >= 2"),
    ("Which disk will be full within a week?", "spotlightd_disk_full_in_seconds < 7 * 86400"),
    ("Is a raw document missing, or its copy damaged?", "spotlightd_documents_amiss > 0"),
    ("Is the event loop late?", "histogram_quantile(0.99, rate(spotlightd_loop_lag_seconds_bucket[5m])) > 0.05"),
)  # fmt: skip

MADE = "<!-- made by `make docs`; edit the declarations in the code instead -->"


def datasets_page(datasets: Iterable[Dataset], sources: Sequence[Batch]) -> str:
    """Every dataset with its columns, units, cautions and sources: the publishers' first, then our own records."""
    ordered = sorted(datasets, key=lambda one: (not one.by_load, one.name))
    return _page(
        "Datasets",
        "Types are ClickHouse's own words. A dataset's name is its table, its address in the explorer and its API path.",
        *(line for dataset in ordered for line in _dataset(dataset, sources)),
    )


def settings_page(kind: type[Any] = Settings) -> str:
    """Every setting with its default and meaning, section by section."""
    return _page(
        "Settings",
        "One TOML file, given with `--config`. Every setting has a default; an unknown one is an error that names the "
        "nearest known one. `spotlightd check` prints those in force.",
        *_section(kind, ""),
    )


def commands_page(parser: argparse.ArgumentParser) -> str:
    """Every command with its own arguments and an example; what all share and what exit statuses mean, once."""
    words = _subcommands(parser)
    shared = [row for row in _arguments(words[0][2]) if all(row in _arguments(word) for _, _, word in words)]
    return _page(
        "Commands",
        parser.description or "",
        "Every command takes:",
        _table(("argument", "meaning"), shared),
        *(line for name, help_, word in words for line in _command(f"{parser.prog} {name}", help_, word, shared)),
        "## Exit status",
        *_fenced((parser.epilog or "").partition("\n")[2]),
    )


def metrics_page(metrics: Iterable[ListedMetric]) -> str:
    """Every metric with its kind, labels and meaning, and what to ask of them first."""
    rows = [(f"`{metric.name}`", metric.kind, _names(metric.labels), metric.help) for metric in metrics]
    return _page(
        "Metrics",
        "For Prometheus, at `/metrics` on `metrics.host` and `metrics.port`: a port of its own, without accounts, so keep "
        "it on loopback. Labels hold declared names and closed lists of words only; what nobody declared counts as "
        "`other`, so the number of series does not grow with the data. All counters are there from the start, at 0. A "
        "flow's beats are counted by the loop that does its work; as rows they are in the dataset `heartbeats`.",
        _table(("metric", "kind", "labels", "meaning"), rows),
        "## What to ask first",
        _table(("question", "expression"), [(question, f"`{asked}`") for question, asked in QUESTIONS]),
    )


def _page(title: str, opening: str, *paragraphs: str) -> str:
    return "\n\n".join(part for part in (f"# {title}", MADE, opening, *paragraphs) if part) + "\n"


def _dataset(dataset: Dataset, sources: Sequence[Batch]) -> Iterator[str]:
    yield f"## `{dataset.name}`: {dataset.title}"
    yield dataset.about
    if dataset.notes:
        yield "\n".join(["What to beware of:", "", *(f"- {note}" for note in dataset.notes)])
    facts = [
        ("Publisher", dataset.publisher),
        ("Rhythm", dataset.rhythm.description),
        ("One row is named by", _names(dataset.key)),
        ("Looked up by", _names((dataset.symbol,)) if dataset.symbol else ""),
        ("Old or new by", _names((dataset.time,))),
        ("Licence", dataset.licence),
        *(("Source", _source(one)) for one in sources if dataset in one.datasets),
    ]
    yield "\n".join(f"- {name}: {value}" for name, value in facts if value)
    yield _table(("column", "type", "unit", "meaning"), [_column(one) for one in dataset.columns])
    if dataset.has_receipts:
        pointer = ", ".join(f"`{one.name}` ({one.meaning})" for one in dataset.pointer)
        yield f"Each row also carries its receipt: the load that brought it, and where it stands in its document: {pointer}."


def _source(source: Batch) -> str:
    looked = f"not collected: {source.suspended}" if source.suspended else f"looked at `{source.cron}` UTC"
    return f"`{source.name}`, {source.title}, <{source.home}>; {looked}"


def _column(column: Column) -> tuple[str, ...]:
    return (f"`{column.name}`", f"`{column.type}`", column.unit, column.meaning)


def _section(kind: type[Any], where: str) -> Iterator[str]:
    """Plain settings as a table, then each nested section under its own heading."""
    hints, plain, nested = typing.get_type_hints(kind), [], []
    for field in dataclasses.fields(kind):
        hint = hints[field.name]
        if dataclasses.is_dataclass(hint):
            nested.append((field.name, hint))
        else:
            plain.append((f"`{field.name}`", f"`{_default(field)}`", _says(field, hint)))
    if where:
        yield f"## `[{where}]`"
        yield kind.__doc__ or ""
    yield _table(("setting", "default", "meaning"), plain)
    for name, hint in nested:
        yield from _section(typing.cast("type[Any]", hint), f"{where}.{name}" if where else name)


def _default(field: dataclasses.Field[Any]) -> str:
    """As TOML has it; `unset` where TOML has no word for nothing."""
    made = field.default_factory
    value: Any = made() if made is not dataclasses.MISSING else field.default
    if value is None:
        return "unset"
    if isinstance(value, str | Path | bool | list | dict):
        return json.dumps(str(value) if isinstance(value, Path) else value)
    if isinstance(value, date):
        return value.isoformat()
    return f"{value:_}" if value >= 10_000 else str(value)  # noqa: PLR2004  (where a reader begins to count digits)


def _says(field: dataclasses.Field[Any], hint: Any) -> str:
    choices = typing.get_args(hint) if typing.get_origin(hint) is Literal else ()
    among = f" (one of {', '.join(f'`{one}`' for one in choices)})" if choices else ""
    return f"{field.metadata.get('says', '')}{among}"


def _subcommands(parser: argparse.ArgumentParser) -> list[tuple[str, str, argparse.ArgumentParser]]:
    """Name, one-line help and parser of each command. argparse has no public way to ask for them."""
    found = [one for one in parser._actions if isinstance(one, argparse._SubParsersAction)]  # noqa: SLF001
    helps = {one.dest: one.help or "" for action in found for one in action._choices_actions}  # noqa: SLF001
    return [(name, helps.get(name, ""), word) for action in found for name, word in action.choices.items()]


def _command(name: str, help_: str, word: argparse.ArgumentParser, shared: Sequence[tuple[str, str]]) -> Iterator[str]:
    yield f"## `{name}`"
    yield help_[:1].upper() + help_[1:] + "."
    own = [row for row in _arguments(word) if row not in shared]
    if own:
        yield _table(("argument", "meaning"), own)
    yield from _fenced((word.epilog or "").partition("\n")[2])


def _arguments(parser: argparse.ArgumentParser) -> list[tuple[str, str]]:
    return [
        (f"`{_spelling(one)}`", one.help or "")
        for one in parser._actions  # noqa: SLF001  (no public way)
        if not isinstance(one, argparse._HelpAction | argparse._VersionAction | argparse._SubParsersAction)  # noqa: SLF001
    ]


def _spelling(action: argparse.Action) -> str:
    value = str(action.metavar or (action.dest.upper() if action.option_strings else action.dest))
    if action.choices is not None:
        value = "|".join(str(one) for one in action.choices)
    if not action.option_strings:
        return f"[{value}]" if action.nargs == "?" else value
    flags = ", ".join(action.option_strings)
    return flags if action.nargs == 0 else f"{flags} {value}"


def _fenced(text: str) -> Iterator[str]:
    if text.strip():
        yield f"```\n{textwrap.dedent(text).strip()}\n```"


def _names(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    cells = [list(head), ["---"] * len(head), *([_cell(one) for one in row] for row in rows)]
    return "\n".join(f"| {' | '.join(row)} |" for row in cells)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
