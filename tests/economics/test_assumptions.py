"""A figure has a source or is called assumed."""

import pytest

from breakeven.economics.assumptions import Assumption, assumed
from breakeven.errors import InputError


def test_what_nobody_vouches_for_is_listed_apart():
    term = Assumption("term", 36, "months")
    idle = Assumption("idle power", 6, "W", source="Apple", dated="2025-03-12")

    assert assumed([term, idle]) == (term,)


def test_a_figure_with_a_blank_source_is_refused():
    with pytest.raises(InputError, match="term"):
        Assumption("term", 36, "months", source=" ")
