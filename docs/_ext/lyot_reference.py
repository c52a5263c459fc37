"""Sphinx directives that render the reference from the code: commands, parameters, and the pages of the Python API.

``{lyot-command} NAME``
    Arguments and options of a command, from the typer application.
``{lyot-parameters} MODULE:CLASS``
    The parameters of a dataclass that were declared with `lyot.params.param`; ``:only:`` takes some of them.
``{lyot-columns} FILE`` or ``EXTENSION``
    The columns of a table of the measurements, or of a binary table in a product, as the table itself describes them.
``{lyot-stage} STAGE``
    The parameters of every step of a pipeline, from its stpipe specification.
``{lyot-modules}``
    The public packages with their first lines.

Before the pages are read, a page for each public package is written to ``docs/api`` and the notebooks are copied to
``docs/tutorials``.
"""

from __future__ import annotations

import importlib
import inspect
import json
import re
import shutil
import typing
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

log = logging.getLogger(__name__)

PACKAGES = (
    "measure", "reduction", "subtract", "calibrate", "ramps", "optics", "optics.fitting", "steps", "analysis",
    "run", "report", "exposures", "reference_files", "archive", "records", "simulator", "tutorials", "testing",
)  # fmt: skip
"""Public packages, in the order of the API pages."""

MODULES = ("errors", "params", "dq", "geometry", "stacks", "instrument", "report.figures", "tutorials.figures")
"""Public modules: the names in their ``__all__``, or all of them where there is none."""


def code(text: str) -> nodes.literal:
    """A piece of code in running text."""
    return nodes.literal(text, text)


def table(head: Iterable[str], rows: Iterable[Iterable[nodes.Node | str]], widths: Iterable[int]) -> nodes.Node:
    """A table whose cells are texts or nodes, inside a frame that scrolls on narrow screens."""
    widths = list(widths)
    group = nodes.tgroup(cols=len(widths))
    group += [nodes.colspec(colwidth=width) for width in widths]
    top, body = nodes.thead(), nodes.tbody()
    for part, lines in ((top, [head]), (body, rows)):
        for line in lines:
            row = nodes.row()
            for cell in line:
                inner = nodes.paragraph()
                inner += nodes.Text(cell) if isinstance(cell, str) else cell
                row += nodes.entry("", inner)
            part += row
    group += [top, body]
    made = nodes.table("", group, classes=["lyot-parameters"])
    return nodes.container("", made, classes=["pst-scrollable-table-container"])


def sentence(text: str) -> str:
    """A help text with a capital letter and a full stop."""
    text = text.strip()
    return f"{text[:1].upper()}{text[1:].rstrip('.')}." if text else ""


def shown(value: Any) -> str:
    """A default as it is written in a TOML file; nothing where there is none."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (tuple, list)):
        return json.dumps(list(value))
    return json.dumps(value) if isinstance(value, str) else str(value)


def limits(info: Any) -> str:
    """The allowed values of a parameter in words."""
    if info.choices:
        return f"One of {', '.join(info.choices)}."
    low, high = (None if v is None else f"{v:g}" for v in (info.min, info.max))
    if low is None and high is None:
        return ""
    if high is None:
        return f"At least {low}."
    return f"At most {high}." if low is None else f"{low} to {high}."


def parameter_rows(infos: Iterable[Any]) -> list[list[nodes.Node | str]]:
    """Name, default, unit and meaning of parameters declared with `lyot.params.param`."""
    rows: list[list[nodes.Node | str]] = []
    for info in infos:
        text = " ".join(part for part in (sentence(info.help), limits(info)) if part)
        default = shown(info.default)
        rows.append([code(info.name), code(default) if default else "–", info.unit or "", text])
    return rows


class Parameters(SphinxDirective):
    """Table of the parameters of a dataclass."""

    required_arguments = 1
    option_spec = {"only": directives.unchanged}  # noqa: RUF012

    def run(self) -> list[nodes.Node]:
        """Make the table."""
        from lyot.params import describe

        module, _, name = self.arguments[0].partition(":")
        infos = describe(getattr(importlib.import_module(module), name))
        only = self.options.get("only", "").split()
        if unknown := set(only) - {info.name for info in infos}:
            raise self.error(f"{self.arguments[0]} has no {', '.join(sorted(unknown))}")
        rows = parameter_rows(i for i in infos if not only or i.name in only)
        return [table(("parameter", "default", "unit", "meaning"), rows, (22, 20, 10, 48))]


class Columns(SphinxDirective):
    """Table of the columns of a table of the measurements, or of a binary table in a product."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Make the table."""
        from lyot.analysis.columns import COLUMNS
        from lyot.exposures.columns import COLUMNS as EXTENSIONS
        from lyot.exposures.columns import OFFICIAL

        columns = {**COLUMNS, **EXTENSIONS, **OFFICIAL}[self.arguments[0]].items()
        return [
            table(
                ("column", "unit", "meaning"),
                ([code(name), unit or "–", sentence(text)] for name, (unit, text) in columns),
                (26, 14, 60),
            )
        ]


def step_rows(parameters: Iterable[Any]) -> list[list[nodes.Node | str]]:
    """Name, default, unit and meaning of the parameters of a step; our own ones with their ranges."""
    from lyot.run.config import _toml_default

    rows: list[list[nodes.Node | str]] = []
    for parameter in parameters:
        if parameter.info is not None:
            rows += parameter_rows([parameter.info])
            continue
        default = _toml_default(parameter)
        choices = ", ".join(re.findall(r"[\w.+-]+", parameter.choices))
        text = " ".join(part for part in (sentence(parameter.help), f"One of {choices}." if choices else "") if part)
        rows.append([code(parameter.name), code(default) if default else "–", "", text])
    return rows


COMMON = ("pre_hooks", "post_hooks", "output_use_index", "save_results", "skip", "search_output_file")
"""Parameters that every step has."""


class Stage(SphinxDirective):
    """A section for each step of a pipeline, with the table of its parameters."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Make the sections."""
        from lyot.run.pipelines import step_parameters

        stage, made = self.arguments[0], []
        for step, parameters in step_parameters(stage).items():
            name = f"{stage}.{step}" if step else stage
            own = [p for p in parameters if p.name not in COMMON]
            section = nodes.section(ids=[nodes.make_id(name)], names=[name])
            section += nodes.title("", "", code(f"[{name}]"))
            if own:
                section += table(("parameter", "default", "unit", "meaning"), step_rows(own), (22, 20, 10, 48))
            else:
                section += nodes.paragraph("", "No parameters but those that every step has.")
            made.append(section)
        return made


class Command(SphinxDirective):
    """Usage, help, arguments and options of a command of ``lyot``, from the signature that typer reads."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Make the description."""
        from lyot.cli import build_app

        name = self.arguments[0]
        callback = build_app(name).registered_commands[0].callback
        assert callback is not None
        usage, rows = [f"lyot {name}"], []
        hints = typing.get_type_hints(callback, include_extras=True)
        for parameter in inspect.signature(callback).parameters.values():
            kind, info = typing.get_args(hints[parameter.name])[:2]
            if getattr(info, "hidden", False):
                continue
            required = parameter.default is inspect.Parameter.empty
            word, several = value_of(kind)
            if type(info).__name__ == "ArgumentInfo":
                label = parameter.name.upper() + (" ..." if several else "")
                usage.append(label if required else f"[{label}]")
                names, word = [label], ""
            else:
                given = (info.default, *(info.param_decls or ()))  # typer takes the first name for a default
                names = [each for each in given if isinstance(each, str) and each.startswith("-")]
                names = names or [f"--{parameter.name.replace('_', '-')}"]
                names.sort(key=lambda each: len(each) == 2)  # -o after --out
                if required:
                    usage.append(f"{names[0]} {(info.metavar or parameter.name).upper()}")
                special = info.metavar if (info.metavar or "").lower() != word else ""
                word = "" if word == "switch" else special or word
            cell = nodes.inline()
            for number, each in enumerate(names):
                cell += [nodes.Text(", ")] if number else []
                cell += code(each)
            meaning = sentence(info.help or "")
            if not (
                required or "efault" in meaning or parameter.default is None or isinstance(parameter.default, bool)
            ):
                meaning += f" Default: {parameter.default}."
            rows.append([cell, word, meaning])
        usage.append("[OPTIONS]")
        text = " ".join(usage)
        found = [nodes.paragraph("", " ".join(p.split())) for p in (inspect.getdoc(callback) or "").split("\n\n")]
        block = nodes.literal_block(text, text, language="text")
        return [*found, block, table(("argument or option", "takes", "meaning"), rows, (32, 12, 56))]


WORDS = {Path: "path", str: "text", int: "integer", float: "number", bool: "switch"}
"""What an option of a type takes."""


def value_of(annotation: Any) -> tuple[str, bool]:
    """What an option takes, in a word, and whether it takes several."""
    if annotation in WORDS:
        return WORDS[annotation], False
    inner = [a for a in typing.get_args(annotation) if a is not type(None)]
    word, _ = value_of(inner[0])
    return word, typing.get_origin(annotation) is list or value_of(inner[0])[1]


class Packages(SphinxDirective):
    """The public packages with their first lines."""

    def run(self) -> list[nodes.Node]:
        """Make the table."""
        rows: list[list[nodes.Node | str]] = []
        for name in (*PACKAGES, *MODULES):
            doc = (importlib.import_module(f"lyot.{name}").__doc__ or "").strip().split("\n\n")[0]
            link = addnodes.pending_xref(
                "", code(f"lyot.{name}"), refdomain="std", reftype="doc", refexplicit=True, refwarn=True,
                reftarget=f"/api/lyot.{name}", refdoc=self.env.docname,
            )  # fmt: skip
            rows.append([link, sentence(" ".join(doc.replace("`", "").split()))])
        return [table(("package", "contents"), rows, (25, 75))]


def package_page(package: str) -> str:
    """The page of a public package: its docstring and a table of its public names, each with a page of its own."""
    module = importlib.import_module(package)
    doc = (module.__doc__ or "").strip().split("\n\n")[0]
    names = [n for n in sorted(module.__all__) if not n.startswith("__")]
    lines = [package, "=" * len(package), "", f".. currentmodule:: {package}", "", doc, ""]
    lines += [".. autosummary::", "   :toctree: generated", "   :nosignatures:", ""]
    return "\n".join([*lines, *(f"   {name}" for name in names), ""])


def module_page(package: str) -> str:
    """The page of a module: its docstring and what is public in it."""
    module = importlib.import_module(package)
    own = [n for n, v in vars(module).items() if getattr(v, "__module__", "") == package and not n.startswith("_")]
    names = [n for n in own if n in getattr(module, "__all__", own)]
    lines = [package, "=" * len(package), "", f".. automodule:: {package}", "   :no-members:", ""]
    lines += [
        f".. currentmodule:: {package}",
        "",
        ".. autosummary::",
        "   :toctree: generated",
        "   :nosignatures:",
        "",
    ]
    return "\n".join([*lines, *(f"   {name}" for name in names), ""])


def write_pages(app: Sphinx, config: Config) -> None:
    """Write the pages of the API and copy the notebooks, executed ones if they are there."""
    api = Path(app.srcdir) / "api"
    pages = {"lyot": package_page("lyot")}
    pages |= {f"lyot.{name}": package_page(f"lyot.{name}") for name in PACKAGES}
    pages |= {f"lyot.{name}": module_page(f"lyot.{name}") for name in MODULES}
    api.mkdir(exist_ok=True)
    for old in api.glob("*.rst"):
        if old.stem not in pages:
            old.unlink()
    for name, text in pages.items():
        put(api / f"{name}.rst", text)
    config.autosummary_generate = [f"api/{name}.rst" for name in sorted(pages)]  # also those that are new
    copy_notebooks(Path(app.srcdir))


def put(path: Path, text: str) -> None:
    """Write a page unless it is as it was, so that nothing is built anew."""
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


def copy_notebooks(docs: Path) -> None:
    """Put the notebooks where Sphinx finds them; with their outputs where ``make tutorials`` made them."""
    target, without = docs / "tutorials" / "notebooks", []
    target.mkdir(exist_ok=True)
    for source in sorted((docs.parent / "pipeline_demos").glob("*.ipynb")):
        executed = docs / "_build" / "tutorials" / source.name
        if executed.is_file() and same_cells(executed, source):
            source = executed
        else:
            without.append(source.stem)
        copy = target / source.name
        if not copy.is_file() or copy.read_bytes() != source.read_bytes():
            shutil.copyfile(source, copy)
    if without:
        log.info("notebooks without outputs (make tutorials executes them): %s", ", ".join(without))


def same_cells(one: Path, other: Path) -> bool:
    """Whether two notebooks have the same cells, whatever their outputs."""
    cells = [[c["source"] for c in json.loads(p.read_text(encoding="utf-8"))["cells"]] for p in (one, other)]
    joined = [["".join(source) for source in part] for part in cells]
    return joined[0] == joined[1]


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directives."""
    app.add_directive("lyot-command", Command)
    app.add_directive("lyot-parameters", Parameters)
    app.add_directive("lyot-columns", Columns)
    app.add_directive("lyot-stage", Stage)
    app.add_directive("lyot-modules", Packages)
    app.connect("config-inited", write_pages)  # before Sphinx looks for its pages
    return {"parallel_read_safe": True, "parallel_write_safe": True}
