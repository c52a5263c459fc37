"""The rule files of a calibration reference cache: which file is the right one for which exposure.

Three levels, as the reference system defines them: one ``.pmap`` names the rules of each instrument, its ``.imap``
those of each reference type, and an ``.rmap`` the files by parameters of the exposure. Each holds the SHA-1 of its own
text (without the line that says so), which the reference system verifies on reading.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Final

USE_AFTER: Final = "2022-01-01 00:00:00"

PARKEYS: Final[dict[str, tuple[str, ...]]] = {
    **dict.fromkeys(
        ("mask", "gain", "readnoise", "saturation", "linearity", "flat", "distortion"),
        ("META.INSTRUMENT.DETECTOR", "META.INSTRUMENT.FILTER", "META.SUBARRAY.NAME"),
    ),
    "reset": ("META.INSTRUMENT.DETECTOR", "META.SUBARRAY.NAME", "META.EXPOSURE.READPATT"),
    "dark": ("META.INSTRUMENT.DETECTOR", "META.EXPOSURE.READPATT", "META.SUBARRAY.NAME"),
    "rscd": ("META.INSTRUMENT.DETECTOR",),
    "photom": ("META.INSTRUMENT.DETECTOR", "META.INSTRUMENT.FILTER"),
    "area": ("META.INSTRUMENT.DETECTOR", "META.INSTRUMENT.FILTER"),
    "psfmask": ("META.INSTRUMENT.FILTER", "META.INSTRUMENT.CORONAGRAPH", "META.SUBARRAY.NAME"),
    "filteroffset": ("META.INSTRUMENT.DETECTOR",),
    "pars-detector1pipeline": ("META.EXPOSURE.TYPE",),
}
"""Parameters of the exposure that select a file, by reference type."""

_OTHER_TYPES: Final = """
abvegaoffset amplifier apcorr area barshadow bkg camera chromcorr collimator cubepar dark dflat disperser distortion
drizpars emicorr extract1d fflat filteroffset flat fore fpa fringe fringefreq gain ifufore ifupost ifuslicer ipc
lastframe linearity mask mrsptcorr mrsxartcorr msa msaoper nrm ote pastasoss pathloss persat photom pictureframe psf
psfmask readnoise refpix regions reset resol rscd saturation sflat sirskernel speckernel specprofile specwcs
straymask superbias throughput trapdensity trappars tsophot v2v3 wavecorr wavelengthrange wavemap wcsregions wfssbkg
"""

_PARS_STEPS: Final = """
adaptivetracemodelstep alignrefsstep ami3pipeline amianalyzestep amiaveragestep aminormalizestep assignmtwcsstep
assignwcsstep backgroundstep badpixselfcalstep barshadowstep chargemigrationstep cleanflickernoisestep combine1dstep
coron3pipeline cubebuildstep cubeskymatchstep darkcurrentstep darkpipeline detector1pipeline dqinitstep emicorrstep
extract1dstep extract2dstep firstframestep flatfieldstep fringestep gainscalestep groupscalestep guidercdsstep
guiderpipeline hlspstep image2pipeline image3pipeline imprintstep ipcstep jumpstep klipstep lastframestep
linearitystep linearpipeline masterbackgroundmosstep masterbackgroundnrsslitsstep masterbackgroundstep mrsimatchstep
msaflagopenstep outlierdetectionscaledstep outlierdetectionstackstep outlierdetectionstep pathlossstep
persistencestep photomstep pictureframestep pixelreplacestep rampfitstep refpixstep resamplespecstep resamplestep
resetstep residualfringestep rscdstep saturationstep skymatchstep sourcecatalogstep sourcetypestep spec2pipeline
spec3pipeline spectralleakstep stackrefsstep straylightstep subtractimagesstep superbiasstep targcentroidstep
tso3pipeline tsophotometrystep tweakregstep undersamplecorrectionstep wavecorrstep wfscombinestep wfsscontamstep
whitelightstep
"""

REFERENCE_TYPES: Final = tuple(
    sorted({*_OTHER_TYPES.split(), *PARKEYS, *(f"pars-{name}" for name in _PARS_STEPS.split())})
)
"""Every type that a step may ask for; those without a file are 'N/A', so that the step skips or goes on without."""


def _literal(value: Any, indent: int = 0) -> str:
    """A Python literal in the layout of the rule files."""
    pad = " " * indent
    if isinstance(value, Mapping):
        lines = [f"{pad}    {key!r} : {_literal(item, indent + 4)},\n" for key, item in value.items()]
        return "{\n" + "".join(lines) + pad + "}"
    return repr(value)


def _with_checksum(header: Mapping[str, Any], selector: str) -> str:
    """Text of a rule file with its own checksum in the header."""

    def text(checksum: str) -> str:
        return f"header = {_literal({**header, 'sha1sum': checksum})}\n\nselector = {selector}\n"

    rest = "".join(line for line in text("").splitlines(keepends=True) if "sha1sum" not in line)
    return text(hashlib.sha1(rest.encode()).hexdigest())


def reference_map(name: str, kind: str, files: Mapping[tuple[str, ...], str]) -> str:
    """Text of an ``.rmap``: `files` gives the file by the values of the type's `PARKEYS`."""
    header = {
        "classes": ("Match", "UseAfter"),
        "derived_from": "simulated detector",
        "filekind": kind.upper(),
        "instrument": "MIRI",
        "mapping": "REFERENCE",
        "name": name,
        "observatory": "JWST",
        "parkey": (PARKEYS[kind], ("META.OBSERVATION.DATE", "META.OBSERVATION.TIME")),
    }
    rows = "".join(
        f"    {key!r} : UseAfter({{\n        {USE_AFTER!r} : {file!r},\n    }}),\n"
        for key, file in sorted(files.items())
    )
    return _with_checksum(header, f"Match({{\n{rows}}})")


def instrument_map(name: str, instrument: str, rmaps: Mapping[str, str]) -> str:
    """Text of an ``.imap``: `rmaps` gives the rmap by reference type; every other type is 'N/A'."""
    header = {
        "derived_from": "simulated detector",
        "instrument": instrument.upper(),
        "mapping": "INSTRUMENT",
        "name": name,
        "observatory": "JWST",
        "parkey": ("REFTYPE",),
    }
    return _with_checksum(header, _literal({kind: rmaps.get(kind, "N/A") for kind in REFERENCE_TYPES}))


def pipeline_map(name: str, imaps: Mapping[str, str]) -> str:
    """Text of the ``.pmap``: `imaps` gives the imap by instrument."""
    header = {
        "derived_from": "simulated detector",
        "mapping": "PIPELINE",
        "name": name,
        "observatory": "JWST",
        "parkey": ("META.INSTRUMENT.NAME",),
    }
    return _with_checksum(header, _literal({key.upper(): value for key, value in sorted(imaps.items())}))


def server_config(context: str) -> str:
    """Text of ``config/jwst/server_config``: what the server would have said, without which nothing starts offline."""
    config = {
        "observatory": "jwst",
        "operational_context": context,
        "latest_context": context,
        "bad_files": "",
        "bad_files_list": [],
        "last_synced": USE_AFTER,
        "crds_version": {"str": "14.0.3"},
        "status": "cache",
        "connected": False,
        "force_remote_mode": False,
        "server": "none",
    }
    return _literal(config) + "\n"
