"""The version is the tag, what stands in for it is not older, and the changelog can be made."""

import re
import subprocess
import tomllib
from pathlib import Path

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
