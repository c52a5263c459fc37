"""Tasks of a run and their results."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lyot.records.manifest import Product


@dataclass(frozen=True)
class Task:
    """Task as sent to a worker.

    Attributes
    ----------
    id : str
        Unique, e.g. ``stage1/jw01386008001_04101_00001_mirimage``.
    kind : str
        stage1, stage2, stage3 or measure; the folder of its products.
    name : str
        Exposure root or product name.
    inputs : tuple of str
        Files it reads.
    arguments : mapping
        Arguments of the pipeline's ``call``, or the parameters of the measurement.
    depends : tuple of str
        Tasks whose products it reads.
    parameters : mapping
        All parameters, defaults included, for the record.
    association : str
        Association file, where it reads one; relative to the output folder.
    folder : str
        Folder of its products below that of its kind; empty for none.
    weight : float
        Rough cost relative to other tasks, for the progress bar.
    unread : tuple of str
        Inputs whose checksums the worker gives with its result, as it reads them anyway.
    """

    id: str
    kind: str
    name: str
    inputs: tuple[str, ...]
    arguments: Mapping[str, Any]
    depends: tuple[str, ...] = ()
    parameters: Mapping[str, Any] = field(default_factory=dict)
    association: str = ""
    folder: str = ""
    weight: float = 1.0
    unread: tuple[str, ...] = ()


@dataclass(frozen=True)
class TaskResult:
    """Result that a worker returns.

    Attributes
    ----------
    task : str
    products : tuple of Product
    started : str
        UTC, ISO 8601.
    wall_time : float
        s.
    peak_memory : float
        MB.
    checksums : mapping of str to str
        Of the inputs in `Task.unread`.
    """

    task: str
    products: tuple[Product, ...]
    started: str
    wall_time: float
    peak_memory: float
    checksums: Mapping[str, str] = field(default_factory=dict)
