"""Results that several tasks of one process ask for one after the other, computed once.

The second pass, the search for sources and the contrast curve of a run each need the residuals of the references, and
come by them from different files and objects. What they are computed from is compared by its content.
"""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Callable
from typing import Generic, TypeVar

import numpy as np

T = TypeVar("T")


class LastResults(Generic[T]):
    """Keeps the last results of one computation.

    Parameters
    ----------
    most : int, optional
        How many.

    Examples
    --------
    >>> last = LastResults()
    >>> a = last.of((np.arange(3), 2.0), lambda: np.arange(3) * 2.0)
    >>> b = last.of((np.arange(3), 2.0), lambda: 1 / 0)
    >>> a is b, a.flags.writeable
    (True, False)
    """

    def __init__(self, most: int = 1) -> None:
        self._most = most
        self._kept: dict[bytes, T] = {}

    def of(self, content: object, compute: Callable[[], T]) -> T:
        """The result that was kept, if one was computed from the same, or else a new one.

        Parameters
        ----------
        content : object
            All that the result follows from: numbers, texts, arrays, and tuples and dataclasses of them.
        compute : callable
            Makes the result.

        Returns
        -------
        object
            What `compute` returns. An array is read-only.
        """
        key = _digest(content)
        if key not in self._kept:
            while len(self._kept) >= self._most:  # before, so that the memory is free
                del self._kept[next(iter(self._kept))]
            result = compute()
            if isinstance(result, np.ndarray):
                result.setflags(write=False)
            self._kept[key] = result
        return self._kept[key]


def _digest(content: object) -> bytes:
    """Digest of a pickle; arrays are not copied for it."""
    digest = hashlib.blake2b(digest_size=32)
    digest.update(pickle.dumps(content, protocol=5, buffer_callback=lambda buffer: digest.update(buffer.raw())))
    return digest.digest()
