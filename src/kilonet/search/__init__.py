"""The best network within a budget: a space of networks and recipes, and the search in it.

The room itself can be called: ``kilonet.search(space)`` is :func:`kilonet.search.loop.search`.
Python sets ``kilonet.search`` to the room whenever one of its files is imported, so a function of
that name in the package would come and go.
"""

import sys
from types import ModuleType
from typing import Any

from kilonet.search.files import bundled_spaces, is_search, load_space, space_text
from kilonet.search.folder import read_search
from kilonet.search.loop import search
from kilonet.search.observer import SearchObserver, SearchRun
from kilonet.search.result import Candidate, Confirmed, Rung, SearchResult, SearchTrial
from kilonet.search.sample import suggest
from kilonet.search.space import Space

__all__ = [
    "Candidate",
    "Confirmed",
    "Rung",
    "SearchObserver",
    "SearchResult",
    "SearchRun",
    "SearchTrial",
    "Space",
    "bundled_spaces",
    "is_search",
    "load_space",
    "read_search",
    "search",
    "space_text",
    "suggest",
]


class _Callable(ModuleType):
    """A module that is called as its function."""

    def __call__(self, *arguments: Any, **options: Any) -> SearchResult:
        """See :func:`search`."""
        return search(*arguments, **options)


sys.modules[__name__].__class__ = _Callable
