"""Where ramps come from when an exposure is streamed: a file on disk, or an array, read in bands of rows."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lyot.errors import InputError
from lyot.ramps import _kernels_stream as kernels


@dataclass(frozen=True)
class RampArray:
    """Ramps in memory: (nints, ngroups, ny, nx) uint16 or float32 ndarray, DN."""

    data: NDArray[Any]

    def __post_init__(self) -> None:
        if self.data.ndim != 4 or min(self.data.shape) == 0:
            raise InputError(f"ramps: expected (integration, group, y, x) samples, got shape {self.data.shape}.")
        if self.data.dtype not in (np.dtype(np.uint16), np.dtype(np.float32)):
            raise InputError(f"ramps: expected uint16 or float32 in native byte order, got {self.data.dtype}.")

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(nints, ngroups, ny, nx)."""
        nints, ngroups, ny, nx = self.data.shape
        return nints, ngroups, ny, nx

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the samples."""
        return self.data.dtype

    def read(self, corner: tuple[int, int], integrations: tuple[int, int], out: NDArray[Any]) -> None:
        """Fill ``out (rows, columns, nints, ngroups)`` from row and column `corner`, integrations [first, last)."""
        kernels.turn_rows(self.data, corner, integrations, out)

    def head(self, integration: int, n_groups: int) -> NDArray[Any]:
        """First groups of an integration, (n_groups, ny, nx)."""
        return np.ascontiguousarray(self.data[integration, :n_groups])


class PlaneFile:
    """An array in a file that is read with ``pread``: opened by ``with``."""

    def __init__(self, path: Path, offset: int, shape: tuple[int, int, int, int]) -> None:
        self.path, self.offset, self.shape = Path(path), offset, shape
        self._fd = -1

    def __enter__(self) -> PlaneFile:
        self._fd = os.open(self.path, os.O_RDONLY)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        os.close(self._fd)
        self._fd = -1

    def _truncated(self) -> InputError:
        return InputError(
            f"{self.path}: the file ends before the end of its data of shape {self.shape}; download it again."
        )


class RampFile(PlaneFile):
    """Raw ramps in a level-1b file: big-endian int16 with BZERO = 32768 at `offset`, uncompressed."""

    dtype = np.dtype(np.uint16)

    def read(
        self, corner: tuple[int, int], integrations: tuple[int, int], out: NDArray[Any], *, before: int = 0
    ) -> None:
        """Fill ``out (rows, columns, nints, ngroups)`` from row and column `corner`, integrations [first, last).

        `before`: integrations of the exposure in earlier files, if they are counted over all of them.
        """
        offset = self.offset - before * int(np.prod(self.shape[1:], dtype=np.int64)) * self.dtype.itemsize
        if not kernels.read_rows(self._fd, offset, self.shape, corner, integrations, out):
            raise self._truncated()

    def head(self, integration: int, n_groups: int) -> NDArray[np.uint16]:
        """First groups of an integration, (n_groups, ny, nx)."""
        _, ngroups, ny, nx = self.shape
        size = n_groups * ny * nx * 2
        raw = os.pread(self._fd, size, self.offset + integration * ngroups * ny * nx * 2)
        if len(raw) != size:
            raise self._truncated()
        return (np.frombuffer(raw, ">u2").astype(np.uint16) ^ np.uint16(0x8000)).reshape(n_groups, ny, nx)


class SegmentFiles:
    """Raw ramps of one exposure in several level-1b files, read as if they were one: opened by ``with``.

    Parameters
    ----------
    files : sequence of RampFile
        Segments in the order of their integrations, none missing between them; same groups, rows and columns.
    """

    dtype = RampFile.dtype

    def __init__(self, files: Sequence[RampFile]) -> None:
        unlike = [file for file in files if file.shape[1:] != files[0].shape[1:]]
        if unlike:
            raise InputError(
                f"{unlike[0].path}: groups, rows and columns are {unlike[0].shape[1:]}, but {files[0].shape[1:]} in "
                f"{files[0].path.name}; give the segments of one exposure."
            )
        self.files = tuple(files)
        self.starts = tuple(sum(f.shape[0] for f in files[:k]) for k in range(len(files)))
        self.shape = (sum(f.shape[0] for f in files), *files[0].shape[1:])
        self._stack = ExitStack()

    def __enter__(self) -> SegmentFiles:
        for file in self.files:
            self._stack.enter_context(file)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stack.close()

    def read(self, corner: tuple[int, int], integrations: tuple[int, int], out: NDArray[Any]) -> None:
        """As `RampFile.read`, integrations counted over all files."""
        for file, start in zip(self.files, self.starts, strict=True):
            part = max(integrations[0], start), min(integrations[1], start + file.shape[0])
            if part[0] < part[1]:
                file.read(corner, part, out, before=start)

    def head(self, integration: int, n_groups: int) -> NDArray[np.uint16]:
        """First groups of an integration, (n_groups, ny, nx)."""
        k = max(k for k, start in enumerate(self.starts) if start <= integration)
        return self.files[k].head(integration - self.starts[k], n_groups)


class FloatFile(PlaneFile):
    """Ramps of a reference file: big-endian float32 at `offset`, uncompressed."""

    def rows(self, corner: tuple[int, int], shape: tuple[int, int, int, int]) -> NDArray[np.float32]:
        """Values (rows, columns, integrations, groups) of `shape` from row and column `corner` on; NaN becomes zero."""
        out = np.empty(shape, np.uint32)
        if not kernels.read_rows(self._fd, self.offset, self.shape, corner, (0, shape[2]), out):
            raise self._truncated()
        return out.view(np.float32)
