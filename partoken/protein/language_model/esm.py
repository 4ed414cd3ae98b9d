"""ESM-2 from local weights, with `transformers`, an optional package.

References:
    Evolutionary-scale prediction of atomic-level protein structure with a language model (Lin et al., Science 2023).
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from partoken.errors import UserError
from partoken.protein.chains.backbone import AMINO_ACIDS
from partoken.system.device import choose_device
from partoken.system.user_files import open_regular

__all__ = ["Esm", "load_esm"]

_FILES = "config.json, vocab.txt and model.safetensors or pytorch_model.bin"


class Esm:
    """A language model that reads residues and gives a vector for each.

    Arguments:
        model: an `EsmModel` in evaluation mode.
        tokens: 24 numbers: the tokens of the 20 amino acids in the order of their codes, of an unknown one, of the
            begin and the end of a chain, and of padding.
    """

    def __init__(self, model: torch.nn.Module, tokens: Sequence[int]) -> None:
        self.model = model
        self._residues = np.array(tokens[:21], dtype=np.int64)
        self._begin, self._end, self._padding = tokens[21:]

    @property
    def width(self) -> int:
        """Number D of values of a residue."""
        config: Any = self.model.config
        return int(config.hidden_size)

    @torch.inference_mode()
    def embed(self, sequences: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Computes the last hidden state of each residue.

        Arguments:
            sequences: amino acid codes of chains or parts of chains, uint8 [L] each; see `encode`.

        Returns:
            float32 [L, D] for each, without the begin and the end.
        """
        longest = max(map(len, sequences))
        tokens = np.full((len(sequences), longest + 2), self._padding, dtype=np.int64)
        is_read = np.zeros_like(tokens)
        tokens[:, 0] = self._begin
        for row, codes in enumerate(sequences):
            tokens[row, 1 : len(codes) + 1] = self._residues[codes]
            tokens[row, len(codes) + 1] = self._end
            is_read[row, : len(codes) + 2] = 1
        device = next(self.model.parameters()).device
        output = self.model(
            input_ids=torch.from_numpy(tokens).to(device), attention_mask=torch.from_numpy(is_read).to(device)
        )
        hidden = output.last_hidden_state.float().cpu().numpy()
        return [hidden[row, 1 : len(codes) + 1] for row, codes in enumerate(sequences)]


def load_esm(folder: str | os.PathLike[str], device: str | None = None, *, window: int = 1022) -> Esm:
    """Loads a model from a folder; nothing is downloaded.

    Arguments:
        folder: with the files of a model as `transformers` saves them.
        device: as in `torch.device`; None takes a GPU if there is one.
        window: number of residues that the model has to read at once.

    Raises:
        UserError: `transformers` is not installed, the folder does not hold an ESM-2 model, or the model cannot read
            that many residues.
    """
    folder = Path(folder)
    config = _read_config(folder)
    if config.get("position_embedding_type") == "absolute" and window + 2 > config["max_position_embeddings"] - 2:
        raise UserError(f"--window {window}: {folder} reads at most {config['max_position_embeddings'] - 4} residues")
    try:
        from transformers import EsmModel, EsmTokenizer
        from transformers.utils import logging
    except ImportError:
        raise UserError(
            "a language model needs transformers: pip install -c constraints.txt -e '.[esm]' in the clone, or "
            "pip install 'partoken[esm]'"
        ) from None
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        tokenizer = EsmTokenizer.from_pretrained(folder, local_files_only=True)
        model, found = EsmModel.from_pretrained(
            folder, local_files_only=True, add_pooling_layer=False, output_loading_info=True, dtype=torch.float32
        )
    except Exception as error:  # a damaged file raises errors of several libraries
        reason = " ".join(str(error).split())
        raise UserError(f"--weights {folder} cannot be loaded: {reason}; the folder needs {_FILES}") from error
    # The head for contacts is not used.
    missing = sorted(name for name in found["missing_keys"] if not name.startswith("contact_head"))
    if missing:
        raise UserError(
            f"--weights {folder} lacks {len(missing)} tensors of ESM-2, such as {missing[0]}; copy its files again"
        )
    tokens = [tokenizer.convert_tokens_to_ids(letter) for letter in AMINO_ACIDS + "X"]
    if tokenizer.unk_token_id in tokens:
        raise UserError(f"--weights {folder}: vocab.txt lacks an amino acid of {AMINO_ACIDS}X; copy that of ESM-2")
    tokens += [tokenizer.cls_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id]
    return Esm(model.eval().to(choose_device(device)), tokens)


def _read_config(folder: Path) -> dict[str, Any]:
    """Returns what the folder says about its model, after a check that it is of the right kind."""
    if not folder.is_dir():
        raise UserError(f"--weights {folder}: no such folder; give the folder of an ESM-2 model with {_FILES}")
    try:
        with open_regular(folder / "config.json") as file:
            config: dict[str, Any] = json.loads(file.read())
        kind = config.get("model_type")
    except (OSError, ValueError, AttributeError) as error:
        raise UserError(f"--weights {folder} holds no model ({error}); the folder needs {_FILES}") from None
    if kind != "esm":
        raise UserError(f"--weights {folder} holds a model of the type {kind}; give one of the type esm, such as ESM-2")
    if not (folder / "vocab.txt").is_file():
        raise UserError(f"--weights {folder} holds no vocab.txt; the folder needs {_FILES}")
    return config
