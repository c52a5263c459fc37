"""Rows of a cube shared out over threads; the kernels release the interpreter's lock."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor


def usable_threads(threads: int = 0) -> int:
    """Number of threads to use: `threads`, or with 0 every core that this process may run on."""
    if threads > 0:
        return threads
    return max(1, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


def row_ranges(n_rows: int, parts: int) -> list[tuple[int, int]]:
    """Cut rows 0 to `n_rows` into at most `parts` ranges (first, last + 1) of like size."""
    parts = max(1, min(parts, n_rows))
    edges = [n_rows * k // parts for k in range(parts + 1)]
    return list(itertools.pairwise(edges))


def over_rows(kernel: Callable[[int, int], object], n_rows: int, *, threads: int = 0) -> None:
    """Call ``kernel(y0, y1)`` for row ranges that together make 0 to `n_rows`, on several threads.

    Parameters
    ----------
    kernel : callable
        Works on rows y0 to y1 - 1 of arrays that it holds; releases the interpreter's lock; rows are independent.
    n_rows : int
        Number of rows.
    threads : int, optional
        Number of threads; 0 takes every core.
    """
    count = usable_threads(threads)
    if count == 1 or n_rows < 2 * count:
        kernel(0, n_rows)
        return
    with ThreadPoolExecutor(count) as pool:
        for future in [pool.submit(kernel, y0, y1) for y0, y1 in row_ranges(n_rows, count)]:
            future.result()
