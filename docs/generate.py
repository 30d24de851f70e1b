# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write docs/reference/ from the documentation in modules, plugins and roles.

Run without arguments to rewrite the pages, with --check to check that they are up to date.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from antsibull_docs_parser import dom
from antsibull_docs_parser.parser import Context, parse

ROOT = Path(__file__).resolve().parents[1]
FQCN = "digital_twin.robotics_lab"
NOTICE = "<!-- Written by docs/generate.py: change the source and run `make docs`. -->"

# A longer default gets a block of its own.
LONGEST_CELL = 120

# Folder below plugins/, the type's name for ansible-doc, and the heading in the index.
PLUGIN_KINDS = {
    "modules": ("module", "Modules"),
    "filter": ("filter", "Filters"),
    "inventory": ("inventory", "Inventory plugins"),
    "lookup": ("lookup", "Lookups"),
    "test": ("test", "Tests"),
}


class DocumentationError(Exception):
    """The documentation of a plugin or role cannot be read; the message names it and the reason."""


@dataclass(frozen=True)
class Page:
    """One reference page."""

    kind: str
    """The folder below docs/reference/."""
    name: str
    """The name without the collection's."""
    summary: str
    """The short description, one line of Markdown."""
    text: str
    """The whole page."""

    @property
    def path(self) -> Path:
        """The page's path relative to docs/reference/."""
        return Path(self.kind, f"{self.name}.md")


@dataclass(frozen=True)
class OwnDocumentation:
    """The documentation in a plugin's own source, without fragments of other collections.

    Text of other collections depends on their installed version, so it would make the pages differ between machines.
    """

    content: dict[str, Any]
    borrowed: tuple[str, ...]
    """The fragments of other collections, by full name."""


def ansible_doc(kind: str, *arguments: str) -> dict[str, Any]:
    """Return what ansible-doc prints about this collection's plugins of one kind.

    Args:
        kind: module, role, filter and so on.
        arguments: further arguments of ansible-doc.

    Raises:
        DocumentationError: ansible-doc failed.
    """
    command = [str(Path(sys.executable).parent / "ansible-doc"), "--type", kind, "--json", *arguments]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    environment |= {"ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".collections"), "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")}
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if result.returncode:
        raise DocumentationError(f"ansible-doc --type {kind} {' '.join(arguments)}: {result.stderr.strip()}")
    answer: dict[str, Any] = json.loads(result.stdout)
    return answer


def constants_in(source: Path) -> Iterator[tuple[str, str]]:
    """Yield the name and text of every string constant that a Python file assigns."""
    for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            for target in node.targets:
                if isinstance(target, ast.Name):
                    yield target.id, node.value.value


def own_documentation(source: Path) -> OwnDocumentation:
    """Return the documentation in a plugin's file and in the fragments of this collection that it names.

    Args:
        source: the Python file, or the YAML file next to it that documents it.

    Raises:
        DocumentationError: it has no documentation.
    """
    if source.suffix in {".yml", ".yaml"}:
        own = yaml.safe_load(source.read_text(encoding="utf-8")).get("DOCUMENTATION")
    else:
        own = yaml.safe_load(dict(constants_in(source)).get("DOCUMENTATION", ""))
    if not isinstance(own, dict):
        raise DocumentationError(f"{source}: no DOCUMENTATION")
    fragments = own.get("extends_documentation_fragment", [])
    borrowed = []
    for fragment in [fragments] if isinstance(fragments, str) else fragments:
        if not fragment.startswith(f"{FQCN}."):
            borrowed.append(fragment)
            continue
        name, _dot, part = fragment.removeprefix(f"{FQCN}.").partition(".")
        texts = dict(constants_in(ROOT / "plugins" / "doc_fragments" / f"{name}.py"))
        for key, value in (yaml.safe_load(texts[part.upper() or "DOCUMENTATION"]) or {}).items():
            if isinstance(value, dict):
                own[key] = {**value, **own.get(key, {})}
            else:
                own[key] = [*as_list(own.get(key, [])), *as_list(value)]
    return OwnDocumentation(own, tuple(borrowed))


def as_list(value: object) -> list[Any]:
    """Return a list unchanged, None as an empty list, and any other value as a list of one."""
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def code(value: object) -> str:
    """Return a value as inline code that is valid in a table cell."""
    written = value if isinstance(value, str) and value else json.dumps(value, default=str)
    shown = " ".join(written.split()).replace("|", "\\|")
    fence = "``" if "`" in shown else "`"
    return f"{fence}{shown}{fence}"


def too_long(option: Mapping[str, Any]) -> bool:
    """Return whether the default of an option is too long for a table."""
    return isinstance(option.get("default"), dict | list) and len(code(option["default"])) > LONGEST_CELL


class Writer:
    """Turns Ansible's markup into Markdown, with links to the pages that exist."""

    def __init__(self, known: Iterable[tuple[str, str]]) -> None:
        """Save the pages.

        Args:
            known: kind and full name of each page.
        """
        self.known = set(known)

    def plugin(self, kind: str, fqcn: str) -> str:
        """Return a plugin's name, as a link where it has a page."""
        if (kind, fqcn) in self.known:
            return f"[{fqcn}](../{kind}/{fqcn.removeprefix(f'{FQCN}.')}.md)"
        return code(fqcn)

    def part(self, part: dom.AnyPart) -> str:
        """Return one part of a paragraph as Markdown.

        Raises:
            DocumentationError: the markup is wrong.
        """
        match part:
            case dom.TextPart(text=plain) | dom.RSTRefPart(text=plain):
                text = plain.replace("<", "&lt;").replace("|", "\\|").replace("*", "\\*")
            case dom.ItalicPart():
                text = f"*{part.text}*"
            case dom.BoldPart():
                text = f"**{part.text}**"
            case dom.CodePart(text=literal) | dom.OptionValuePart(value=literal) | dom.EnvVariablePart(name=literal):
                text = code(literal)
            case dom.OptionNamePart() | dom.ReturnValuePart():
                text = code(part.name if part.value is None else f"{part.name}={part.value}")
            case dom.ModulePart():
                text = self.plugin("modules", part.fqcn)
            case dom.PluginPart():
                kinds = {kind: folder for folder, (kind, _heading) in PLUGIN_KINDS.items()} | {"role": "roles"}
                text = self.plugin(kinds.get(part.plugin.type, part.plugin.type), part.plugin.fqcn)
            case dom.URLPart():
                text = f"<{part.url}>"
            case dom.LinkPart():
                text = f"[{part.text}]({part.url})"
            case dom.HorizontalLinePart():
                text = "\n\n---\n\n"
            case dom.ErrorPart():
                raise DocumentationError(part.message)
        return text

    def paragraphs(self, text: object) -> list[str]:
        """Return a description, which Ansible allows to be one string or a list, as paragraphs of Markdown."""
        parsed = parse([str(paragraph) for paragraph in as_list(text)], Context(), errors="message")
        return [" ".join("".join(self.part(part) for part in paragraph).split()) for paragraph in parsed]

    def cell(self, text: object) -> str:
        """Return a description as one table cell."""
        return "<br>".join(self.paragraphs(text))

    def listing(self, heading: str, items: Sequence[object]) -> Iterator[str]:
        """Yield a section with one bullet for each item; nothing when there are none."""
        if items:
            yield f"## {heading}"
            yield "\n".join(f"- {self.cell(item)}" for item in items)

    def option_rows(self, options: Mapping[str, Any], parent: str = "") -> Iterator[str]:
        """Yield a table row for each option, required ones first, each followed by those nested in it."""
        for name, option in sorted(options.items(), key=lambda item: (not item[1].get("required", False), item[0])):
            full = f"{parent}{name}"
            kind = option.get("type", "str")
            nested_in = f"{full}[]." if kind == "list" else f"{full}."
            if "elements" in option:
                kind = f"{kind} of {option['elements']}"
            if option.get("required"):
                default = "**required**"
            elif too_long(option):
                default = "see below"
            else:
                default = "" if option.get("default") is None else code(option["default"])
            meaning = self.cell(option.get("description"))
            if option.get("aliases"):
                meaning += f"<br>Also called {', '.join(code(alias) for alias in option['aliases'])}."
            choices = option.get("choices") or []
            if isinstance(choices, dict):
                meaning += "".join(f"<br>{code(value)}: {self.cell(text)}" for value, text in choices.items())
            elif choices:
                meaning += f"<br>One of {', '.join(code(value) for value in choices)}."
            yield f"| {code(full)} | {kind} | {default} | {meaning} |"
            yield from self.option_rows(option.get("options") or option.get("suboptions") or {}, nested_in)

    def options_table(self, title: str, options: Mapping[str, Any]) -> str:
        """Return the table of a module's options or a role's variables, and after it the defaults that are too long."""
        head = [f"| {title} | Type | Default | Meaning |", "|---|---|---|---|"]
        table = "\n".join([*head, *self.option_rows(options)])
        long = {name: option["default"] for name, option in sorted(options.items()) if too_long(option)}
        return f"{table}\n\n```yaml\n{yaml.safe_dump(long, sort_keys=False, width=110)}```" if long else table

    def return_rows(self, values: Mapping[str, Any], parent: str = "") -> Iterator[str]:
        """Yield a table row for each return value, each followed by those nested in it."""
        for name, value in values.items():
            full = f"{parent}{name}"
            kind = value.get("type", "")
            nested_in = f"{full}[]." if kind == "list" else f"{full}."
            if "elements" in value:
                kind = f"{kind} of {value['elements']}"
            meaning = self.cell(value.get("description"))
            if value.get("sample") is not None:
                meaning += f"<br>Sample: {code(value['sample'])}"
            yield f"| {code(full)} | {kind} | {value.get('returned', '')} | {meaning} |"
            yield from self.return_rows(value.get("contains") or {}, nested_in)


def plugin_page(writer: Writer, folder: str, fqcn: str, answer: Mapping[str, Any]) -> Page:
    """Return the page of a module or another plugin.

    Args:
        writer: renders markup.
        folder: below plugins/, for instance modules.
        fqcn: the plugin's full name.
        answer: ansible-doc's answer for it.

    Raises:
        DocumentationError: the plugin's own documentation cannot be found.
    """
    documented = answer["doc"]
    own = own_documentation(Path(documented["filename"]))
    options = {
        name: option for name, option in documented.get("options", {}).items() if name in own.content.get("options", {})
    }
    attributes = {
        name: value
        for name, value in documented.get("attributes", {}).items()
        if name in own.content.get("attributes", {})
    }
    blocks = [NOTICE, f"# {fqcn}", "\n\n".join(writer.paragraphs(documented["short_description"]))]
    blocks += writer.paragraphs(documented.get("description"))
    if documented.get("version_added"):
        blocks.append(f"Since {documented['version_added']}.")
    blocks += writer.listing("Requirements", as_list(own.content.get("requirements")))
    if options:
        blocks += ["## Options", writer.options_table("Option", options)]
    if own.borrowed:
        blocks.append(f"It takes the common options of {', '.join(code(name) for name in own.borrowed)} as well.")
    if attributes:
        rows = []
        for name, value in attributes.items():
            meaning = writer.cell(as_list(value.get("description")) + as_list(value.get("details")))
            rows.append(f"| {code(name)} | {value.get('support', '')} | {meaning} |")
        blocks += ["## Behaviour", "\n".join(["| Property | Support | Meaning |", "|---|---|---|", *rows])]
    blocks += writer.listing("Notes", as_list(own.content.get("notes")))
    blocks += writer.listing("See also", [see_also(entry) for entry in as_list(own.content.get("seealso"))])
    if answer.get("examples"):
        blocks += ["## Examples", f"```yaml\n{answer['examples'].strip()}\n```"]
    if answer.get("return"):
        head = ["| Value | Type | Returned | Meaning |", "|---|---|---|---|"]
        blocks += ["## Return values", "\n".join([*head, *writer.return_rows(answer["return"])])]
    summary = writer.cell(documented["short_description"])
    return Page(folder, fqcn.removeprefix(f"{FQCN}."), summary, "\n\n".join(blocks) + "\n")


def see_also(entry: Mapping[str, str]) -> str:
    """Return one entry of a plugin's seealso list in Ansible's markup."""
    if "module" in entry:
        target = f"M({entry['module']})"
    elif "plugin" in entry:
        target = f"P({entry['plugin']}#{entry['plugin_type']})"
    elif "link" in entry:
        target = f"L({entry['name']},{entry['link']})"
    else:
        target = entry.get("name", entry.get("ref", ""))
    return f"{target}: {entry['description']}" if entry.get("description") else target


def role_page(writer: Writer, fqcn: str, answer: Mapping[str, Any]) -> Page:
    """Return the page of a role, its entry points in the order main first, then by name.

    Args:
        writer: renders markup.
        fqcn: the role's full name.
        answer: ansible-doc's answer for it.
    """
    entry_points = sorted(answer["entry_points"].items(), key=lambda item: (item[0] != "main", item[0]))
    summary = writer.cell(answer["entry_points"].get("main", entry_points[0][1]).get("short_description", ""))
    name = fqcn.removeprefix(f"{FQCN}.")
    blocks = [
        NOTICE,
        f"# Role {fqcn}",
        summary,
        f"How and when to use it: [roles/{name}](../../../roles/{name}/README.md).",
    ]
    for entry_point, content in entry_points:
        blocks.append(f"## Entry point {code(entry_point)}")
        if entry_point != "main":
            blocks += writer.paragraphs(content.get("short_description"))
        blocks += writer.paragraphs(content.get("description"))
        options = content.get("options") or {}
        blocks.append(writer.options_table("Variable", options) if options else "It takes no variables.")
    return Page("roles", name, summary, "\n\n".join(blocks) + "\n")


def index_page(pages: Sequence[Page]) -> str:
    """Return the table of contents of all pages."""
    blocks = [NOTICE, "# Reference", "[Back to the user guide](../index.md)"]
    headings = {"roles": "Roles"} | {folder: heading for folder, (_kind, heading) in PLUGIN_KINDS.items()}
    for kind, heading in headings.items():
        rows = [f"| [{page.name}]({page.path.as_posix()}) | {page.summary} |" for page in pages if page.kind == kind]
        if rows:
            blocks += [f"## {heading}", "\n".join(["| Name | Purpose |", "|---|---|", *rows])]
    return "\n\n".join(blocks) + "\n"


def render() -> dict[Path, str]:
    """Return every reference page by its path relative to docs/reference/.

    Raises:
        DocumentationError: the documentation of a plugin or role is incomplete.
    """
    answers: dict[tuple[str, str], dict[str, Any]] = {}
    kinds = {"roles": "role"} | {folder: kind for folder, (kind, _heading) in PLUGIN_KINDS.items()}
    for folder, kind in kinds.items():
        base = ROOT / ("roles" if folder == "roles" else f"plugins/{folder}")
        if not base.is_dir():
            continue
        names = sorted(ansible_doc(kind, "--list", FQCN))
        # Without names ansible-doc returns all of Ansible's plugins.
        documented = ansible_doc(kind, *names) if names else {}
        answers |= {(folder, name): documented[name] for name in names}
    writer = Writer(answers)
    pages = [
        role_page(writer, fqcn, answer) if folder == "roles" else plugin_page(writer, folder, fqcn, answer)
        for (folder, fqcn), answer in answers.items()
    ]
    return {Path("index.md"): index_page(pages)} | {page.path: page.text for page in pages}


def difference(wanted: Mapping[Path, str], target: Path) -> Iterator[str]:
    """Yield the lines of a unified diff from the pages in a folder to the wanted ones."""
    present = {path.relative_to(target): path.read_text(encoding="utf-8") for path in target.rglob("*.md")}
    for path in sorted(wanted.keys() | present.keys()):
        before, after = present.get(path, ""), wanted.get(path, "")
        yield from difflib.unified_diff(before.splitlines(), after.splitlines(), f"{path}", f"{path}", lineterm="")


def write(wanted: Mapping[Path, str], target: Path) -> None:
    """Write the pages to a folder, and remove all others."""
    for path in target.rglob("*.md"):
        if path.relative_to(target) not in wanted:
            path.unlink()
    for path, text in wanted.items():
        page = target / path
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(text, encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the pages, or compare them.

    Args:
        arguments: the command line, without the program's name.

    Returns:
        The exit code: 0, or 1 when --check found a difference or something cannot be documented.
    """
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="change nothing; fail when a page is not up to date")
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "reference", help="folder of the pages")
    options = parser.parse_args(arguments)
    try:
        wanted = render()
    except DocumentationError as error:
        print(error, file=sys.stderr)
        return 1
    if options.check:
        lines = list(difference(wanted, options.output))
        if lines:
            print("\n".join(lines))
            print("The reference pages are not up to date: run `make docs`.", file=sys.stderr)
        return 1 if lines else 0
    write(wanted, options.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
