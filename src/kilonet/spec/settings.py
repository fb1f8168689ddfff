"""Short options of the command line, each for one ``--set``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from kilonet.errors import UsageError
from kilonet.spec.files import parse_setting
from kilonet.spec.inline_toml import inline


def with_options(settings: Iterable[str], options: Mapping[str, tuple[str, Any]]) -> list[str]:
    """The settings of ``--set``, and those that short options stand for.

    Args:
        settings: ``dotted.path=value``.
        options: option, as ``--epochs`` → its dotted path and its value; None if it is not given.

    Raises:
        UsageError: if an option and ``--set`` give one path different values.
    """
    texts = list(settings)
    values = dict(map(parse_setting, texts))
    for option, (path, value) in options.items():
        if value is None:
            continue
        if values.get(path, value) != value:
            raise UsageError(
                f"{option} {value} and --set {path}={values[path]} disagree; leave one of them out"
            )
        texts.append(f"{path}={inline(value)}")
    return texts
