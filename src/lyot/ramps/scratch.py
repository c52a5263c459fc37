"""Arrays that may be larger than the memory one wants to spend: on disk, in a file without a name, when they are large.

Slopes take 20 bytes per pixel and integration. For a file of hundreds of integrations that is more than all the rest of
the streaming needs, so beyond a limit the arrays are mapped from a file. What has been written is handed to the file
system by `Scratch.release`; the pages come back when they are looked at.
"""

from __future__ import annotations

import mmap
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

IN_MEMORY = 128.0
"""Arrays of an exposure that together are smaller than this, MB, stay in memory."""
PAUSE = 0.01
"""Time between two releases while somebody else works through the arrays, s."""


class Scratch:
    """Zeroed arrays, in memory or mapped from a file that vanishes with them.

    Parameters
    ----------
    folder : Path or None
        Where the file may lie (a disk, not memory); None keeps everything in memory.
    expected : float
        How much will be asked for in all, MB: at most `IN_MEMORY` stays in memory.
    """

    def __init__(self, folder: Path | None, expected: float) -> None:
        self._folder = folder if expected > IN_MEMORY else None
        self._maps: list[mmap.mmap] = []

    def zeros(self, shape: tuple[int, ...], dtype: DTypeLike = np.float32) -> NDArray[Any]:
        """An array of zeros."""
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        if self._folder is None or size == 0:
            return np.zeros(shape, dtype)
        with tempfile.TemporaryFile(dir=self._folder) as file:
            file.truncate(size)
            mapped = mmap.mmap(file.fileno(), size)
        self._maps.append(mapped)
        return np.frombuffer(mapped, dtype).reshape(shape)

    def release(self) -> None:
        """Give the memory of arrays on disk back; their values stay."""
        for mapped in self._maps if hasattr(mmap, "MADV_DONTNEED") else ():
            mapped.madvise(mmap.MADV_DONTNEED)

    @contextmanager
    def kept_small(self) -> Iterator[None]:
        """Release again and again while somebody else reads or writes all of the arrays: a FITS writer, say."""
        if not self._maps:
            yield
            return
        done = threading.Event()

        def work() -> None:
            while not done.wait(PAUSE):
                self.release()

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()
            self.release()
