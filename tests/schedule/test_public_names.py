"""The public names of the schedule."""

import partoken.schedule


def test_every_public_name_exists():
    assert all(hasattr(partoken.schedule, name) for name in partoken.schedule.__all__)
    assert not hasattr(partoken.schedule, "something_else")
