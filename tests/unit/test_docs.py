"""The documentation is complete and its references lead somewhere: pages, links, anchors, files, install commands."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
FRONT = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
PAGES = sorted(DOCS.rglob("*.md"))
RECORDS = [page for page in PAGES if page.parent.name == "decisions" and page.name != "index.md"]
GUIDES = [page for page in (*FRONT, *PAGES) if page not in RECORDS]
MANNERED = re.compile(
    r"gone on with|told of|goes on\b|going on\b|\bstands? in\b|least and greatest|\bown name\b"
    r"|to be mended|\bby itself\b|sign of life"
)
"""Phrases of earlier versions that readers tripped over; CONTRIBUTING.md shows what to write instead."""
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


def prose(page: Path) -> str:
    """A page without its code blocks."""
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def links(page: Path) -> Iterator[tuple[Path, str]]:
    """The file and the anchor of each link of a page to another page of the project."""
    for target in re.findall(r"\]\((?!https?:)([^)\s]+)", prose(page)):
        file, _, anchor = target.partition("#")
        yield (page.parent / file).resolve() if file else page, anchor


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and mkdocs make them."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def name_of(page: Path) -> str:
    """A page's name in test ids and messages."""
    return page.relative_to(ROOT).as_posix()


def test_the_home_page_lists_every_page() -> None:
    """`docs/index.md` links every page but the decision records, which their own index lists."""
    listed = {target for target, _ in links(DOCS / "index.md")}
    assert [name_of(page) for page in PAGES if page not in RECORDS and page != DOCS / "index.md"] == [
        name_of(page) for page in PAGES if page in listed
    ]


def test_the_navigation_has_every_page() -> None:
    """The menu in `mkdocs.yml` has every page but the decision records."""
    menu = set(re.findall(r": ([\w/-]+\.md)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE))
    assert menu == {page.relative_to(DOCS).as_posix() for page in PAGES if page not in RECORDS}


@pytest.mark.parametrize("page", [*FRONT, *PAGES], ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    """Every link to a file of the project names one that exists, and every anchor names a heading of that file."""
    broken = [
        f"{target}#{anchor}"
        for target, anchor in links(page)
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors(target))
    ]
    assert broken == []


@pytest.mark.parametrize("page", GUIDES, ids=name_of)
def test_named_files_exist(page: Path) -> None:
    """Every file of the package, the tests or the benchmarks that a page names in code style exists."""
    named = re.findall(r"`((?:tracelet|tests|benchmarks)/[\w./-]+\.\w+)`", prose(page))
    named = [path for path in named if path.endswith((".py", ".js", ".md"))]
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_the_architecture_shows_every_package() -> None:
    """The table of packages has a row for each package of tracelet, and every file in it exists."""
    text = (DOCS / "internals" / "architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([\w/]+)/` \| .+ \| (.+) \|$", text, re.MULTILINE)
    product = ROOT / "tracelet"
    packages = {path.parent for path in product.rglob("*.py")} - {product}
    assert sorted(path.name for path in packages if path.parent == product) == sorted(
        {package.partition("/")[0] for package, _ in rows}
    )
    files = [f"{package}/{file}" for package, cell in rows for file in re.findall(r"`([\w./]+)`", cell)]
    steps = text.partition("## The path of one value")[2].partition("## Rules")[0]
    files += re.findall(r"`(\w+(?:/\w+)+\.py)`", steps.replace("`lightning/", "`integrations/lightning/"))
    assert [file for file in files if not (product / file).exists()] == []


@pytest.mark.parametrize("page", [*FRONT, *PAGES], ids=name_of)
def test_install_commands_use_the_checkout(page: Path) -> None:
    """No command installs `tracelet` by name, because that name on PyPI belongs to another package."""
    text = page.read_text(encoding="utf-8")
    hints = [
        hint
        for hint in re.findall(r"pip install [^\n`]*?(?<![\w./-])tracelet\b", text)
        if hint != "pip install tracelet" or "belongs to somebody else" not in text  # the warnings about it name it
    ]
    assert hints == []


@pytest.mark.parametrize("page", [page for page in (*FRONT, *PAGES) if page.name != "CONTRIBUTING.md"], ids=name_of)
def test_pages_are_in_plain_english(page: Path) -> None:
    """No page contains a phrase that CONTRIBUTING.md names as one to avoid."""
    assert MANNERED.findall(prose(page)) == []
