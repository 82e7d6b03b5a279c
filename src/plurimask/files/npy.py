"""NPY files to arrays; nothing is ever unpickled."""

from pathlib import Path
from tokenize import TokenError

import numpy as np

from plurimask.files.stored import Stored, one_channel, unreadable

# numpy parses the header as Python text, so that damage can surface as nearly any error of a parser
_DAMAGE = (OSError, ValueError, TypeError, IndexError, OverflowError, TokenError, MemoryError, RecursionError)


def read_npy(path: Path) -> Stored:
    """The array of an NPY file: one channel, (H, W) or (H, W, D), never (C, H, W); without spacing.

    Raises:
        InputError: a file that is missing, damaged, shorter than its header says, or holds Python objects; an array
            that is not one channel.
    """
    return Stored(one_channel(path, read_array(path)))


def read_array(path: Path) -> np.ndarray:
    """The array of an NPY file, of any shape.

    Raises:
        InputError: a file that is missing, damaged, shorter than its header says, or holds Python objects.
    """
    try:
        # Mapping compares the header's size with the file's before any memory is taken, and refuses Python objects.
        return np.array(np.lib.format.open_memmap(path, mode="r"))
    except _DAMAGE as error:
        raise unreadable(path, "NPY file", error) from error
