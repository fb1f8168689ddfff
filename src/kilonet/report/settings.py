"""What a run was trained with, and what differs between several: its spec and its provenance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import SequenceMatcher
from typing import Any

from kilonet.spec.changes import flattened
from kilonet.spec.inline_toml import inline
from kilonet.storage.provenance import Provenance
from kilonet.study import StageResult

_PROVENANCE = {
    "engine": ("name", "version", "instruction_set", "device", "threads"),
    "data": ("sha256", "path"),
    "normalization": ("mean", "std"),
    "source": ("sha256",),
}
"""Tables of ``environment.json`` → keys on which the bits depend. Packages and the machine are in
the report's section on the environment."""

_SHORT = 40
"""Characters of a list that is shown whole; of a longer one the elements that differ."""

Values = list[Any]
"""A value an entry, None for an entry without one."""


def settings_of(result: StageResult) -> dict[str, Any]:
    """Dotted path → value of a stage's spec without its seed, then of its runs' provenance.

    Where the seeds, or the parts of a resumed run, differ, the value is a list of all of theirs.
    """
    settings = flattened(result.stage.run.to_dict())
    settings.pop("train.seed", None)
    found: dict[str, list[Any]] = {}
    parts = [part for r in result.records for part in (r.provenance, *r.provenance.resumed)]
    for part in parts:
        for path, value in _provenance(part).items():
            values = found.setdefault(path, [])
            if value not in values:
                values.append(value)
    own = {path: each[0] if len(each) == 1 else each for path, each in found.items()}
    if own.get("data.path") == settings.get("data.name"):
        own.pop("data.path", None)
    return settings | own


def differing(settings: Sequence[Mapping[str, Any]]) -> dict[str, Values]:
    """The settings that differ: dotted path → a value an entry."""
    paths = dict.fromkeys(path for each in settings for path in each)
    values = {path: [each.get(path) for each in settings] for path in paths}
    return {path: found for path, found in values.items() if any(v != found[0] for v in found)}


def shown(path: str, values: Values) -> list[tuple[str, list[str | None]]]:
    """A setting that differs, for people: a path and a text an entry, a line each.

    Of long lists, such as ``net.layers``, only elements that differ have a line, under the path to
    set them: ``net.layers.2``. The lists are aligned with the first.
    """
    texts = [None if value is None else _text(path, value) for value in values]
    lists = [value for value in values if isinstance(value, list)]
    if len(lists) < len(values) or max(len(text or "") for text in texts) <= _SHORT:
        return [(path, texts)]
    return [(f"{path}.{place}", cells) for place, cells in _elements(lists)]


def _elements(lists: Sequence[list[Any]]) -> list[tuple[str, list[str | None]]]:
    """The elements that differ from the first list's, by their place there, in order.

    Elements that another list has between two of the first list's are at the place of the second,
    as ``added``; None: the list has no such element.
    """
    first, *others = lists
    # (place, whether inserted before it) → a text a list, by its index.
    cells: dict[tuple[int, bool], dict[int, str]] = {}
    removed: dict[int, set[int]] = {}
    whole = [inline(element) for element in first]
    for i, other in enumerate(others, 1):
        texts = [inline(element) for element in other]
        matcher = SequenceMatcher(a=whole, b=texts, autojunk=False)
        for kind, low, high, start, end in matcher.get_opcodes():
            if kind == "equal":
                continue
            paired = min(high - low, end - start)
            for k in range(paired):
                cells.setdefault((low + k, False), {})[i] = texts[start + k]
            for place in range(low + paired, high):
                cells.setdefault((place, False), {})
                removed.setdefault(place, set()).add(i)
            if start + paired < end:
                added = ", ".join(texts[start + paired : end])
                cells.setdefault((high, True), {})[i] = added
    lines = []
    # What is inserted before a place is above it.
    for (place, inserted), changed in sorted(cells.items(), key=lambda c: (c[0][0], not c[0][1])):
        line: list[str | None] = []
        for i in range(len(lists)):
            unchanged = None if inserted or i in removed.get(place, ()) else whole[place]
            line.append(changed.get(i, unchanged))
        lines.append((f"{place} (added)" if inserted else str(place), line))
    return lines


def _text(path: str, value: Any) -> str:
    """A value for people: as in a TOML file, but a digest is short, and a name has no quotes."""
    if path.endswith(".sha256"):
        digests = value if isinstance(value, list) else [value]
        return ", ".join(str(digest)[:12] for digest in digests)
    if path.partition(".")[0] in ("engine", "source") or path == "data.path":
        return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return inline(value)


def _provenance(provenance: Provenance) -> dict[str, Any]:
    content = provenance.to_json()
    values = {
        f"{table}.{key}": content.get(table, {}).get(key)
        for table, keys in _PROVENANCE.items()
        for key in keys
    }
    return {path: _plain(value) for path, value in values.items() if value is not None}


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
