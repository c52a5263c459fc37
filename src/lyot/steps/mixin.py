"""`LyotMixin`: what every step and pipeline of ours has in common beside the official class it derives from.

It goes before the official class: ``class JumpStep(LyotMixin, jwst.jump.JumpStep)``. The class keeps the official name
and ``class_alias``, so that keywords (``S_JUMP``), file suffixes and the tuned parameters of the official step
(``pars-jumpstep`` from CRDS) all stay what they are.
"""

from __future__ import annotations

import contextlib
import logging
import re
import tempfile
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import Any, ClassVar

from stdatamodels.jwst.datamodels import JwstDataModel

from lyot.errors import ReferenceFileError, logged_warnings
from lyot.processes import collections_of_new_objects
from lyot.steps.asdf_extensions import load_extensions
from lyot.steps.models import DataModel, close_file
from lyot.steps.rebuild import with_metadata
from lyot.version import __version__

log = logging.getLogger(__name__)

VERSION_KEYWORD = "LYOT_VER"
"""FITS keyword of the primary header that holds the version of this package."""


def _no_crds(name: str, error: SystemExit) -> ReferenceFileError:
    return ReferenceFileError(
        f"{name}: the reference file system (CRDS) failed ({error}); set CRDS_PATH to a cache with a context, or "
        "CRDS_SERVER_URL=https://jwst-crds.stsci.edu if there is a network connection."
    )


def _join_text(values: MutableMapping[str, Any], spec: Mapping[str, Any]) -> None:
    """Make one text of each list that stands where `spec` (checks by name, nested by step) wants a text; in place."""
    for name, value in values.items():
        check = spec.get(name, "")
        if isinstance(value, MutableMapping) and isinstance(check, Mapping):
            _join_text(value, check)
        elif isinstance(value, list) and str(check).startswith("string("):
            values[name] = ",".join(map(str, value))


class LyotMixin:
    """Mix-in of all steps and pipelines of ours; see the module."""

    class_alias: ClassVar[str | None]
    extra_suffixes: ClassVar[tuple[str, ...]] = ()
    """File suffixes of our own that are stripped when the next product of the file is named."""

    @classmethod
    def official_class(cls) -> type:
        """The class of the official package that this one derives from.

        Returns
        -------
        type
            The class itself if there is none.
        """
        return next((base for base in cls.__mro__ if base.__module__.startswith("jwst.")), cls)

    @classmethod
    def get_config_reftype(cls) -> str:
        """Name of the CRDS parameter file: that of the official step, whose parameters are all ours too."""
        return f"pars-{cls.official_class().__name__.lower()}"

    @classmethod
    def _get_config_from_parameters(cls, crds_parameters: Any, crds_observatory: str) -> Any:
        """Parameters from CRDS; none are asked for where there is no official step of the kind.

        CRDS logs an error for a parameter file of a step that it does not know, which would alarm users for nothing. A
        pipeline asks its steps through this method, and so does a step by itself.
        """
        if cls.official_class().__name__ in ("JwstStep", "Step", "JwstPipeline", "Pipeline"):
            return cls._empty_config()  # type: ignore[attr-defined]
        return super()._get_config_from_parameters(crds_parameters, crds_observatory)  # type: ignore[misc]

    @classmethod
    def merge_config(cls, config: Any, config_file: Any) -> Any:
        """Parameters from a file and the command line; text with commas, such as a position, stays one text.

        The command line of stpipe takes every value with a comma for a list.
        """
        merged = super().merge_config(config, config_file)  # type: ignore[misc]
        _join_text(merged, cls.load_spec_file())  # type: ignore[attr-defined]
        return merged

    @staticmethod
    def get_stpipe_loggers() -> tuple[str, ...]:
        """Names of the loggers that stpipe shows and records: the official ones and ours."""
        from jwst.stpipe import Step

        return (*Step.get_stpipe_loggers(), "lyot")

    @classmethod
    def call(cls, *args: Any, **kwargs: Any) -> Any:
        """Run the step with parameters from CRDS, a parameter file and keywords, as the official steps do.

        Raises
        ------
        ReferenceFileError
            If CRDS has neither a network nor a cache (it would end the process otherwise).
        """
        load_extensions()
        try:
            with tempfile.TemporaryDirectory(prefix="lyot-") as folder:
                if args and str(args[0]).endswith(".json"):
                    args = (str(with_metadata(args[0], Path(folder))), *args[1:])
                return super().call(*args, **kwargs)  # type: ignore[misc]
        except SystemExit as error:
            raise _no_crds(cls.__name__, error) from error

    def run(self, *args: Any) -> Any:
        """Run the step on its input; see `call`."""
        load_extensions()
        alone = self.parent is None  # type: ignore[attr-defined]
        try:
            with logged_warnings(log), collections_of_new_objects() if alone else contextlib.nullcontext():
                result = super().run(*args)  # type: ignore[misc]
        except SystemExit as error:
            raise _no_crds(type(self).__name__, error) from error
        if alone:
            log.info("Results used lyot version: %s", __version__)
        return result

    def prepare_output(self, init: Any, *args: Any, **kwargs: Any) -> Any:
        """Open the input of the step, or copy it; a FITS file that is read is closed again.

        A model keeps all that it read of an open file, even what a step has replaced: up to half of an exposure.
        """
        result = super().prepare_output(init, *args, **kwargs)  # type: ignore[misc]
        if result is not init and isinstance(init, (str, Path)):
            for model in [result] if isinstance(result, JwstDataModel) else result:
                close_file(model)
        return result

    def prefetch(self, *args: Any) -> None:
        """Look up all reference files before the first step runs.

        Raises
        ------
        ReferenceFileError
            If a file that is named is not there.
        """
        try:
            super().prefetch(*args)  # type: ignore[misc]
        except FileNotFoundError as error:
            raise ReferenceFileError(
                f"{error.filename}: no such reference file; check the override_... parameters and CRDS_PATH."
            ) from error

    def finalize_result(self, result: Any, reference_files_used: Any) -> None:
        """Record software versions and reference files in the result, ours included."""
        super().finalize_result(result, reference_files_used)  # type: ignore[misc]
        if isinstance(result, JwstDataModel):
            stamp_version(result)

    def remove_suffix(self, name: str) -> tuple[str, str]:
        """Strip a known product suffix from a file's base name; returns the rest and the separator."""
        if self.extra_suffixes:
            found = re.match(rf"^(.+?)([_-])({'|'.join(map(re.escape, self.extra_suffixes))})$", name)
            if found:
                return found.group(1), found.group(2)
        stripped: tuple[str, str] = super().remove_suffix(name)  # type: ignore[misc]
        return stripped


def stamp_version(model: DataModel) -> None:
    """Write the version of this package into the primary header of a data model (keyword `VERSION_KEYWORD`)."""
    card = [VERSION_KEYWORD, __version__, "Version of the Lyot package"]
    extra = model.instance.setdefault("extra_fits", {}).setdefault("PRIMARY", {})
    others = [c for c in extra.get("header", []) if c[0] != VERSION_KEYWORD]
    extra["header"] = [*others, card]
