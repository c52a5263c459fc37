"""Version of the package, as it was installed; the build takes it from the git tag (``[tool.setuptools_scm]``)."""

from importlib import metadata

try:
    __version__ = metadata.version("lyot")
except metadata.PackageNotFoundError:  # sources that were put on the path without an installation
    __version__ = "0+unknown"
