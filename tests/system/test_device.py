"""A device that is not there is one message."""

import pytest

from partoken.errors import UserError
from partoken.system.device import choose_device


@pytest.mark.parametrize("name", ["cuda:99", "cpuu", "meta", "cpu:-1", ""])
def test_a_device_that_is_not_there_is_refused(name):
    with pytest.raises(UserError, match=rf"device={name}: .*choose cpu|device={name}: .*choose cuda:0"):
        choose_device(name)
