"""Stage 3 as a pipeline: calibrated exposures to the star-subtracted, combined image."""

from __future__ import annotations

import json
import logging
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from jwst.datamodels import ModelContainer
from jwst.model_blender import ModelBlender

from lyot.errors import InputError, MissingInputError
from lyot.params import from_step
from lyot.reduction.choice import ChoiceParams, check_drift
from lyot.reduction.second_pass import RefineParams
from lyot.reduction.star import StarPositionParams
from lyot.steps.extra_fits import add_cards
from lyot.steps.mixin import LyotMixin
from lyot.steps.models import DataModel
from lyot.steps.official import official_pipeline
from lyot.steps.quality import Finding, as_json, assess, is_empty, without_empty, without_one_group
from lyot.steps.segments import join_segments
from lyot.steps.sequence_io import forget_variances, geometry_of, model_name
from lyot.steps.stage3_combine import CombineStep
from lyot.steps.stage3_klip import KlipStep
from lyot.steps.stage3_outliers import FlagOutliersStep
from lyot.steps.stage3_products import set_sky_grid, sky_grid
from lyot.steps.stage3_refine import RefineStep
from lyot.steps.stage3_refs import AlignRefsStep, StackRefsStep
from lyot.steps.stage3_star import LocateStarStep

log = logging.getLogger(__name__)

OfficialCoron3Pipeline = official_pipeline("calwebb_coron3", "Coron3Pipeline")
OfficialOutlierDetectionStep = OfficialCoron3Pipeline.step_defs["outlier_detection"]


class OutlierDetectionStep(LyotMixin, OfficialOutlierDetectionStep):  # type: ignore[misc, valid-type]
    """The official outlier detection, skipped by default; `FlagOutliersStep` replaces it.

    It compares each integration with the median of all, rotated or dithered alike, and flags speckles of a bright star
    as outliers (https://github.com/spacetelescope/jwst/issues/4556).
    """

    spec = """
        skip = boolean(default=True)  # Skip this step: it flags speckles
    """


class Coron3Pipeline(LyotMixin, OfficialCoron3Pipeline):  # type: ignore[misc, valid-type]
    """Stack and register the references, subtract the star, and combine the rolls with north up.

    Takes the official level-3 association (members of exptype ``science`` and ``psf``) and writes the official
    products, and beside them the combined image of every truncation (``klcube``), of each roll, and of a second pass
    that leaves the sources found out of the fit (``refined``).

    Examples
    --------
    >>> from lyot.steps import Coron3Pipeline
    >>> sorted(Coron3Pipeline.step_defs)[:3]
    ['align_refs', 'combine', 'flag_outliers']
    """

    class_alias = "calwebb_coron3"
    extra_suffixes: ClassVar[tuple[str, ...]] = ("klcube", "refined")

    spec = """
        suffix = string(default='i2d')
        mode = option('lyot', 'official', default='lyot')  # algorithms of Lyot, or the official ones
    """

    step_defs: ClassVar[dict[str, type]] = {
        **OfficialCoron3Pipeline.step_defs,
        "flag_outliers": FlagOutliersStep,
        "stack_refs": StackRefsStep,
        "align_refs": AlignRefsStep,
        "locate_star": LocateStarStep,
        "klip": KlipStep,
        "outlier_detection": OutlierDetectionStep,
        "combine": CombineStep,
        "refine": RefineStep,
    }

    _quality: tuple[list[dict[str, Any]], list[Finding]] = ([], [])

    @classmethod
    def call(cls, *args: Any, **kwargs: Any) -> Any:
        """Run the pipeline; see `jwst.stpipe.Step.call`. The association is checked first.

        Raises
        ------
        InputError
            If the association cannot be read, has no science member or names files that are not there.
        """
        if args and isinstance(args[0], (str, Path)):
            check_association(Path(args[0]))
        return super().call(*args, **kwargs)

    def process(self, user_input: Any) -> None:
        """Run stage 3 on an association.

        Parameters
        ----------
        user_input : str, association or ModelContainer
            Level-3 association with members of exptype science and psf.

        Raises
        ------
        InputError
            If there is no science member, or no reference for a strategy that needs one.
        """
        if self.mode == "official":
            self.align_refs.mode = self.klip.mode = "official"
            super().process(user_input)
            return
        self._check()
        log.info("Starting calwebb_coron3 (lyot) ...")
        models = self.prepare_output(user_input, asn_exptypes=["science", "psf"])
        if not hasattr(models, "asn_table") or not models.asn_table.get("products"):
            raise InputError(
                "stage 3 requires a level-3 association with science and psf members; got single exposures."
            )
        try:
            self._run(models, user_input)
        finally:
            if models is not user_input:
                models.close()
        log.info("... ending calwebb_coron3 (lyot)")

    def _check(self) -> None:
        """Refuse what cannot be read before the work begins, not at its end."""
        if not self.locate_star.skip:
            from_step(StarPositionParams, self.locate_star).given()
        if not self.refine.skip:
            from_step(RefineParams, self.refine).places()
        check_drift(from_step(ChoiceParams, self.klip), self.klip.parameters())

    def _run(self, models: ModelContainer, user_input: Any) -> None:
        """The steps in their order."""
        self.asn_id = models.asn_table["asn_id"]
        self.output_file = models.asn_table["products"][0]["name"]
        members = defaultdict(list)
        for model in models:
            members[str(model.meta.asn.exptype).lower()].append(model)
        del model  # else the last reference stays in memory to the end
        if not members["science"]:
            raise InputError("no science member in the association; expected at least one member with exptype science.")
        references = members.pop("psf", [])
        if models is not user_input:  # once they are stacked nobody needs them one by one
            _forget(models, references)
        references[:] = join_segments(references)
        targets = join_segments(members["science"])
        for target in targets:
            if is_empty(target):
                raise InputError(
                    f"{model_name(target)}: all pixels of this science exposure are flagged, NaN or 0; exclude it with "
                    f"--role '{model_name(target)}=ignore'."
                )
        rows, findings = assess(targets, "science")
        self._quality = (rows, findings)
        self._assess_references(references)
        if models is not user_input:
            forget_variances(references)
        targets, aligned = self._prepare(targets, references)
        self._quality[1].extend(self.align_refs.findings)
        subtracted = self.klip.run(targets, aligned)
        for target, product in zip(targets, subtracted, strict=True):
            self.save_model(product, output_file=target.meta.filename, suffix="psfsub", acid=self.asn_id)
        self._combine(targets, aligned, subtracted, models, user_input)

    def _assess_references(self, references: list[DataModel]) -> None:
        """Look at the references, leave out those that hold no slopes, and say what was found."""
        empty = without_empty(references)
        if empty and not references:
            raise InputError(f"{empty[0].text} There is no other reference.")
        self._quality[1].extend(empty)
        rows, findings = assess(references, "psf")
        self._quality[0].extend(rows)
        self._quality[1].extend(findings)
        references[:] = without_one_group(references)
        for finding in self._quality[1]:
            log.warning("%s", finding.text)
        science = {row["file"] for row in self._quality[0] if row["role"] == "science"}
        worthless = [f for f in self._quality[1] if f.code == "one group" and f.file in science]
        if worthless:
            raise InputError(f"{worthless[0].text} Exclude this science exposure.")

    def _write_quality(self, product: DataModel) -> None:
        """Count the findings in the header; write them to JSON next to the products."""
        rows, findings = self._quality
        add_cards(product, [("NWARN", len(findings), "Warnings about the input, see _quality.json")])
        if self.save_results:
            path = Path(self.make_output_path(basepath=self.output_file, suffix="quality", ext=".json"))
            path.write_text(json.dumps(as_json(rows, findings), indent=1) + "\n", encoding="utf-8")

    def _prepare(
        self, targets: Sequence[DataModel], references: list[DataModel]
    ) -> tuple[list[DataModel], DataModel | None]:
        """Flag outliers, stack the references and register them."""
        targets, references = self._flag_outliers(list(targets), references)
        self.outlier_detection.suffix = "crfints"
        self.outlier_detection.mode = "coron"
        self.outlier_detection.save_results = self.save_results
        if not self.outlier_detection.skip:
            targets = [self.outlier_detection.run(m) for m in targets]
            references[:] = [self.outlier_detection.run(m) for m in references]
        targets = list(targets)
        if not references:
            if not self.locate_star.skip:
                self.locate_star.run(targets)
            return targets, None
        stack = self.stack_refs.run(ModelContainer(list(references)))
        references.clear()
        self.save_model(stack, suffix="psfstack")
        if not self.locate_star.skip:  # from the references as they were taken
            stack = self.locate_star.run(targets, stack)
        aligned = self.align_refs.run(targets, stack)
        for target in targets:
            self.save_model(aligned, output_file=target.meta.filename, suffix="psfalign", acid=self.asn_id)
        return targets, aligned

    def _flag_outliers(
        self, targets: list[DataModel], references: list[DataModel]
    ) -> tuple[list[DataModel], list[DataModel]]:
        """Flag outliers in science and references.

        The flagged science exposures are saved (``crfints``), as measurements repeat the subtraction of them.
        """
        if self.flag_outliers.skip:
            return targets, references
        self.flag_outliers.save_results = False
        targets = self.flag_outliers.run(targets)
        if references:
            references[:] = self.flag_outliers.run(references)
        for target in targets:
            name = target.meta.filename
            self.save_model(target, output_file=name, suffix="crfints", acid=self.asn_id)
            target.meta.filename = name  # saving changes it
        return targets, references

    def _combine(
        self,
        targets: Sequence[DataModel],
        aligned: DataModel | None,
        subtracted: list[DataModel],
        models: ModelContainer,
        user_input: Any,
    ) -> None:
        """Combine the rolls, blend the metadata and save the north-up products; of `subtracted` one is kept."""
        reduction = self.klip.result
        result = self.combine.run(list(subtracted), reduction)
        products = [(self.suffix, result), *self.combine.extra_products(subtracted, reduction)]
        del subtracted[1:]  # the second pass takes the parameters from one of them: the memory of the others
        if not self.refine.skip:
            refined = self.refine.run(list(targets), aligned, list(subtracted))
            products += [] if refined is None else [("refined", refined)]
        blender = ModelBlender()
        for target in targets:
            blender.accumulate(target)
        blender.finalize_model(result)
        self._write_quality(result)
        set_sky_grid(result, sky_grid(reduction, geometry_of(subtracted[0])))  # the blend knows the inputs' only
        for suffix, product in products:
            product.meta.asn.pool_name = getattr(models, "asn_pool_name", None)
            if isinstance(user_input, (str, Path)):
                product.meta.asn.table_name = Path(user_input).name
            self.save_model(product, suffix=suffix)


def _forget(models: ModelContainer, unwanted: Sequence[DataModel]) -> None:
    """Take models out of a container, so that their memory is free once nobody else has them."""
    gone = {id(model) for model in unwanted}
    for index in reversed(range(len(models))):
        if id(models[index]) in gone:
            models.pop(index)


def check_association(path: Path) -> None:
    """Refuse a level-3 association that cannot be reduced.

    Raises
    ------
    MissingInputError
        If it or one of its members is not there.
    InputError
        If it is no association or has no science member.
    """
    if not path.is_file():
        raise MissingInputError(f"{path}: no such association; check the path.")
    try:
        members = json.loads(path.read_text(encoding="utf-8"))["products"][0]["members"]
        roles = {str(member["expname"]): str(member["exptype"]).lower() for member in members}
    except (UnicodeDecodeError, ValueError, KeyError, IndexError, TypeError) as error:
        raise InputError(
            f"{path}: not a level-3 association ({error}); stage 3 requires the JSON file that lists its exposures."
        ) from error
    if "science" not in roles.values():
        raise InputError(
            f"{path}: no science member in the association; expected at least one member with exptype science."
        )
    for name, role in roles.items():
        if role in ("science", "psf") and not (path.parent / name).is_file():
            raise MissingInputError(f"{path}: its member {name} does not exist; correct expname.")
