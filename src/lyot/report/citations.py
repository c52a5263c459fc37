"""Papers and software that the methods paragraph cites, as BibTeX; each only with what is known for certain."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Citation:
    """One work.

    Attributes
    ----------
    key : str
        Of the BibTeX entry.
    short : str
        As it stands in the text: ``Soummer et al. 2012``.
    kind : str
        Type of the entry.
    fields : dict of str to str
        Its fields, as BibTeX writes them.
    """

    key: str
    short: str
    kind: str
    fields: dict[str, str]

    @property
    def bibtex(self) -> str:
        """The entry."""
        lines = [f"  {name} = {{{value}}}," for name, value in self.fields.items()]
        return "\n".join([f"@{self.kind}{{{self.key},", *lines, "}"])

    @property
    def url(self) -> str:
        """Where it is."""
        return f"https://doi.org/{self.fields['doi']}" if "doi" in self.fields else self.fields.get("url", "")


def _article(
    key: str,
    short: str,
    author: str,
    title: str,
    journal: str,
    year: str,
    volume: str,
    pages: str,
    doi: str = "",
    bibcode: str = "",
) -> Citation:
    """A paper; where no public list gives its DOI, its page in ADS."""
    fields = {"author": author, "title": f"{{{title}}}", "journal": journal, "year": year, "volume": volume,
              "pages": pages}  # fmt: skip
    if doi:
        fields["doi"] = doi
    elif bibcode:
        fields["url"] = f"https://ui.adsabs.harvard.edu/abs/{bibcode}"
    return Citation(key, short, "article", fields)


_FOUND = (
    _article(
        "Soummer2012", "Soummer et al. 2012", "Soummer, R{\\'e}mi and Pueyo, Laurent and Larkin, James",
        "Detection and Characterization of Exoplanets and Disks Using Projections on Karhunen-Lo{\\`e}ve Eigenimages",
        "The Astrophysical Journal Letters", "2012", "755", "L28", "10.1088/2041-8205/755/2/L28",
    ),
    _article(
        "Mawet2014", "Mawet et al. 2014", "Mawet, D. and Milli, J. and Wahhaj, Z. and Pelat, D. and Absil, O. and "
        "Delacroix, C. and Boccaletti, A. and Kasper, M. and Kenworthy, M. and Marois, C. and Mennesson, B. and "
        "Pueyo, L.", "Fundamental Limitations of High Contrast Imaging Set by Small Sample Statistics",
        "The Astrophysical Journal", "2014", "792", "97", "10.1088/0004-637X/792/2/97",
    ),
    _article(
        "Marois2006", "Marois et al. 2006", "Marois, Christian and Lafreni{\\`e}re, David and Doyon, Ren{\\'e} and "
        "Macintosh, Bruce and Nadeau, Daniel", "Angular Differential Imaging: A Powerful High-Contrast Imaging "
        "Technique", "The Astrophysical Journal", "2006", "641", "556", "10.1086/500401",
    ),
    _article(
        "Lafreniere2007", "Lafrenière et al. 2007", "Lafreni{\\`e}re, David and Marois, Christian and Doyon, Ren{\\'e} "
        "and Nadeau, Daniel and Artigau, {\\'E}tienne", "A New Algorithm for Point-Spread Function Subtraction in "
        "High-Contrast Imaging: A Demonstration with Angular Differential Imaging", "The Astrophysical Journal",
        "2007", "660", "770", bibcode="2007ApJ...660..770L",
    ),
    _article(
        "Ren2018", "Ren et al. 2018", "Ren, Bin and Pueyo, Laurent and Zhu, Guangtun Ben and Debes, John and "
        "Duch{\\^e}ne, Gaspard", "Non-negative Matrix Factorization: Robust Extraction of Extended Structures",
        "The Astrophysical Journal", "2018", "852", "104", "10.3847/1538-4357/aaa1f2",
    ),
    _article(
        "Rouan2000", "Rouan et al. 2000", "Rouan, D. and Riaud, P. and Boccaletti, A. and Cl{\\'e}net, Y. and "
        "Labeyrie, A.", "The Four-Quadrant Phase-Mask Coronagraph. I. Principle",
        "Publications of the Astronomical Society of the Pacific", "2000", "112", "1479", bibcode="2000PASP..112.1479R",
    ),
    _article(
        "Boccaletti2022", "Boccaletti et al. 2022", "Boccaletti, A. and others",
        "JWST/MIRI coronagraphic performances as measured on-sky", "Astronomy \\& Astrophysics", "2022", "667",
        "A165",
    ),
    _article(
        "Pairet2019", "Pairet et al. 2019", "Pairet, Beno{\\^i}t and Cantalloube, Faustine and Gomez Gonzalez, Carlos "
        "A. and Absil, Olivier and Jacques, Laurent", "STIM map: detection map for exoplanets imaging beyond "
        "asymptotic Gaussian residual speckle noise", "Monthly Notices of the Royal Astronomical Society", "2019",
        "487", "2262", "10.1093/mnras/stz1350",
    ),
    _article(
        "ForemanMackey2013", "Foreman-Mackey et al. 2013", "Foreman-Mackey, Daniel and Hogg, David W. and Lang, Dustin "
        "and Goodman, Jonathan", "emcee: The MCMC Hammer",
        "Publications of the Astronomical Society of the Pacific", "2013", "125", "306", "10.1086/670067",
    ),
    _article(
        "Astropy2022", "Astropy Collaboration 2022", "{Astropy Collaboration}", "The Astropy Project: Sustaining and "
        "Growing a Community-oriented Open-source Project and the Latest Major Release (v5.0) of the Core Package",
        "The Astrophysical Journal", "2022", "935", "167", "10.3847/1538-4357/ac7c74",
    ),
)  # fmt: skip

CITATIONS = {citation.key: citation for citation in _FOUND}
"""Papers by key; the software is cited with its version, see `software`."""


def software(key: str, version: str) -> Citation:
    """Lyot, or the calibration pipeline (key ``jwst``), in a version."""
    if key == "jwst":
        fields = {
            "author": "Bushouse, Howard and Eisenhamer, Jonathan and Dencheva, Nadia and others",
            "title": "{JWST Calibration Pipeline}",
            "version": version,
            "publisher": "Zenodo",
            "doi": "10.5281/zenodo.7038885",
            "url": "https://github.com/spacetelescope/jwst",
        }
        return Citation("jwst", "Bushouse et al.", "misc", fields)
    fields = {
        "author": "{The Lyot developers}",
        "title": "{Lyot: JWST/MIRI coronagraphy from raw ramps to a measured planet}",
        "version": version,
    }
    return Citation("lyot", "The Lyot developers", "misc", fields)
