"""The version is the tag, what stands in for it is not older, and the changelog can be made."""

import re
import subprocess
import tomllib
from pathlib import Path
from urllib.parse import unquote

import pytest
from packaging.version import Version

ROOT = Path(__file__).parents[1]


def configuration():
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def fallback():
    return Version(configuration()["tool"]["setuptools_scm"]["fallback_version"])


def newest_tag():
    """Newest release that the clone knows; None without tags, .git or git."""
    try:
        done = subprocess.run(["git", "tag", "--list", "v*"], cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return max(map(Version, re.findall(r"^v(\d+\.\d+\.\d+)$", done.stdout, re.M)), default=None)


def test_news_fragments_are_named_as_towncrier_wants_them():
    kinds = "|".join(kind["directory"] for kind in configuration()["tool"]["towncrier"]["type"])
    text = (ROOT / "changes" / "README.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `(\w+)` \|", text, re.M) == kinds.split("|")
    for path in (ROOT / "changes").iterdir():
        assert path.name == "README.md" or re.fullmatch(rf"(\d+|\+[\w-]+)\.({kinds})\.md", path.name), path


def test_the_badges_are_true():
    project = configuration()["project"]
    classifiers = [c.split(" :: ") for c in project["classifiers"]]
    (jwst,) = (d for d in project["dependencies"] if d.startswith("jwst>="))
    true = {
        "Python": " | ".join(c[2] for c in classifiers if c[:2] == ["Programming Language", "Python"] and "." in c[-1]),
        "jwst": re.fullmatch(r"jwst>=(\d+)\.\d+,<\d+", jwst)[1],
        "License": project["license"],
        "Status": next(c[1].split(" - ")[1].lower() for c in classifiers if c[0] == "Development Status"),
    }
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    badges = re.findall(r"img\.shields\.io/badge/(\w+)-(\S+)-[0-9a-f]{6}\)", text)
    assert {name: unquote(said).replace("--", "-").replace("_", " ") for name, said in badges} == true


def test_no_version_is_stated_in_the_sources():
    assert configuration()["project"]["dynamic"] == ["version"]
    assert not re.search(r"\d+\.\d+\.\d+", (ROOT / "src" / "lyot" / "version.py").read_text(encoding="utf-8"))


def test_the_fallback_is_a_development_version_and_not_older_than_the_newest_tag():
    assert fallback().dev == 0
    if (tag := newest_tag()) is None:
        pytest.skip("no tags")
    assert Version(fallback().base_version) >= tag


def test_the_citation_names_the_newest_release_or_the_next():
    cited = re.search(r"^version: (\S+)$", (ROOT / "CITATION.cff").read_text(encoding="utf-8"), re.M)[1]
    assert Version(cited) in (newest_tag(), Version(fallback().base_version))


def test_the_citation_has_the_address_of_the_project_and_a_date_once_it_is_released():
    text = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    fields = dict(re.findall(r'^([a-z-]+): "?([^"\n]+)"?$', text, re.M))
    urls = configuration()["project"]["urls"]
    assert fields["url"] == urls["Documentation"] and fields.get("repository-code") == urls.get("Repository")
    released = newest_tag() is not None and Version(fields["version"]) == newest_tag()
    assert ("date-released" in fields) == released  # docs/maintain/release.md
