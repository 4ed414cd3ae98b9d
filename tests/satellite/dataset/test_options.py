"""The options of `data` that every source of tiles has: every invalid value is an error that names its key."""

import pytest

from partoken.errors import UserError
from partoken.satellite.dataset.options import TileOptions


@pytest.mark.parametrize(
    "options, message",
    [
        ({"split": "scenes"}, "data.split=scenes: choose given, scene or null. Did you mean scene?"),
        ({"fractions": (0.5, 0.5)}, "data.fractions=[0.5, 0.5]: must be three numbers"),
        ({"fractions": (0.7, 0.2, 0.2)}, "that sum to 1"),
        ({"fractions": "0.7"}, "data.fractions=0.7"),
        ({"val_scenes": "north"}, "data.val_scenes=north: must be a list"),
        ({"test_scenes": [3]}, "data.test_scenes=[3]: must be a list"),
        ({"split": "given", "test_scenes": ["a"]}, "data.test_scenes needs splits by scene"),
        ({"crop": 8}, "data.crop=8: must be a whole number of 16 or more, or null"),
        ({"augment": "yes"}, "data.augment='yes': must be true or false"),
        ({"passes_per_epoch": 0}, "data.passes_per_epoch=0"),
        ({"limit": 0}, "data.limit=0: must be a whole number of 1 or more, or null"),
        ({"max_skipped": 10}, "data.max_skipped=10"),
    ],
    ids=str,
)
def test_an_invalid_option_is_an_error_that_names_its_key(options, message):
    with pytest.raises(UserError) as caught:
        TileOptions(**options)
    assert message in str(caught.value)
