"""Keys of tasks: checksums of all that their products depend on, which decide whether they are up to date."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lyot.records.manifest import Checksums, content_key


class Keys:
    """Keys of the tasks of a plan, made when they are asked for.

    The key of a task needs the content of its files, and of those that the tasks before it read. A task that was never
    done before needs no key until it is finished: by then its worker has given the checksums of the files.

    Parameters
    ----------
    checksums : Checksums
        Of the files that do not come from the run itself.
    named : mapping of Path to str
        Checksums of the files that parameters name, when the plan was made: no task tells whether they change.
    """

    def __init__(self, checksums: Checksums, named: Mapping[Path, str]) -> None:
        self._checksums = checksums
        self._named = named
        self._content: dict[str, tuple[Mapping[str, Any], Sequence[Path], Sequence[tuple[str, Path | str]]]] = {}
        self._known: dict[str, str] = {}

    def add(
        self, task: str, content: Mapping[str, Any], files: Sequence[Path], sources: Sequence[tuple[str, Path | str]]
    ) -> None:
        """Add a task.

        Parameters
        ----------
        task : str
            Identifier.
        content : mapping
            What counts besides files: parameters, versions, calibration context.
        files : sequence of Path
            Files that its parameters name.
        sources : sequence of (str, Path or str)
            What an input is for, and the file, or the identifier of the task that makes it.
        """
        self._content[task] = content, files, sources

    def of(self, task: str) -> str:
        """Key of a task, hexadecimal; reads the files whose checksum is not known yet.

        Parameters
        ----------
        task : str
            Identifier.

        Returns
        -------
        str
        """
        if task not in self._known:
            content, files, sources = self._content[task]
            wanted = [*files, *(source for _, source in sources if isinstance(source, Path))]
            read = {**self._checksums.of([path for path in wanted if path not in self._named]), **self._named}
            inputs = [(word, read[source] if isinstance(source, Path) else self.of(source)) for word, source in sources]
            self._known[task] = content_key({**content, "files": [read[path] for path in files], "inputs": inputs})
        return self._known[task]
