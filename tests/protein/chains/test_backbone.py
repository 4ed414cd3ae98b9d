"""Backbone chains: amino acid codes and the checks of the arrays."""

import numpy as np
import pytest

from partoken.protein.chains.backbone import AMINO_ACIDS, UNKNOWN, Backbone, decode, encode


def test_decoding_inverts_encoding():
    assert decode(encode(AMINO_ACIDS)) == AMINO_ACIDS


def test_encoding_ignores_case_and_maps_other_characters_to_unknown():
    assert encode("acd").tolist() == encode("ACD").tolist()
    assert (encode("BJOUXZ*-") == UNKNOWN).all()


@pytest.mark.parametrize(
    "coords, sequence",
    [
        pytest.param(np.zeros((3, 4, 3)), np.zeros(3, np.uint8), id="float64 coords"),
        pytest.param(np.zeros((3, 3, 3), np.float32), np.zeros(3, np.uint8), id="three atoms"),
        pytest.param(np.zeros((3, 4, 3), np.float32), np.zeros(2, np.uint8), id="other length"),
        pytest.param(np.zeros((3, 4, 3), np.float32), np.zeros(3, np.int64), id="int64 sequence"),
    ],
)
def test_backbone_refuses_wrong_shapes_and_dtypes(coords, sequence):
    with pytest.raises(ValueError, match="odd"):
        Backbone("odd", coords, sequence)
