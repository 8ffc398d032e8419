"""What nobody should write is read, or refused in one line: the first inputs of `make fuzz`."""

import fuzz
import pytest


@pytest.mark.parametrize("target", fuzz.TARGETS)
def test_every_reader_takes_what_it_gets_or_says_what_is_wrong(target):
    count = 10 if target == "report" else 60  # a page takes a sixth of a second
    given, _ = fuzz.fuzz(target, count, seed=0)
    assert given >= count
