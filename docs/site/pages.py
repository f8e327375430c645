"""What `make docs` adds to the pages in docs/: the README, the notebooks, the sources, and a reference of every room.

Links stay as they are for a reader of the repository; on the site they lead to the pages made here. Formulas between
dollar signs become pictures in the page, so that the site needs no network.
"""
import html
import posixpath
import re
from pathlib import Path

from mkdocs.structure.files import File
from nbconvert import MarkdownExporter
from ziamath import Latex

ROOT = Path(__file__).parents[2]
PACKAGES = ("common", "ch_rnn", "ch_lstm", "dataset")
LINK = re.compile(r"(?<=\]\()(?!https?:|#)(?P<path>[^)\s#]+)(?P<anchor>#L\d+)?(?=\))")
FORMULA = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)


def on_files(files, config):
    """Add the pages that are made from other files of the repository."""
    def add(uri, content):
        files.append(File.generated(config, uri, content=content))

    add("index.md", _linked("README.md", "index.md"))
    add("contributing.md", _linked("CONTRIBUTING.md", "contributing.md"))
    for path in sorted(ROOT.glob("notebooks/**/[0-9][0-9]_*.ipynb")):
        folder = path.parent.relative_to(ROOT).as_posix()
        text, resources = MarkdownExporter().from_filename(path, {"unique_key": path.stem})
        uri = f"{folder}/{path.stem}.md"
        add(uri, _linked(path.relative_to(ROOT).as_posix(), uri, text))
        for name, data in resources["outputs"].items():
            add(f"{folder}/{name}", data)
    for path in _sources():
        add(f"source/{path}.md", f'---\nsearch: {{exclude: true}}\n---\n# {path}\n\n``` py linenums="1"\n'
                                 f"{(ROOT / path).read_text(encoding='utf-8')}\n```\n")
    return files


def on_page_markdown(markdown, page, **_):
    """Let the links of the pages in docs/ lead to pages of the site."""
    uri = page.file.src_uri
    return markdown if page.file.generated_by else _linked(f"docs/{uri}", uri, markdown)


def on_page_content(html_text, **_):
    """Set the formulas."""
    return FORMULA.sub(_drawn, html_text)


def _drawn(formula):
    """Return the drawing of a formula, an inline one on the line of its text."""
    inline = formula[1] == "span"
    tex = html.unescape(formula[2]).strip()
    try:
        drawing = Latex(tex, size=17 if inline else 18, color="currentColor", inline=inline, title=tex)
    except Exception as error:
        raise ValueError(f"ziamath cannot draw the formula {tex}") from error
    style = f"vertical-align: {drawing.getyofst():.1f}px" if inline else "overflow-x: auto; text-align: center"
    return f'<{formula[1]} class="formula" style="{style}">{drawing.svg()}</{formula[1]}>'


def _sources():
    """Return the paths of all modules and of the tests that hold a promise, from the root."""
    modules = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    tests = [path for path in (ROOT / "tests").rglob("test_*.py") if "@pytest.mark.promise(" in path.read_text("utf-8")]
    return sorted(path.relative_to(ROOT).as_posix() for path in (*modules, *tests))


def _linked(origin, uri, text=None):
    """Return the text of a file of the repository with links that are right on the site.

    Parameters
    ----------
    origin : str
        Path of the file, from the root.
    uri : str
        Path of its page, from docs/.
    text : str, optional
        By default that of the file.
    """
    def on_site(link):
        target = posixpath.normpath(posixpath.join(posixpath.dirname(origin), link["path"]))
        return posixpath.relpath(_uri(target), posixpath.dirname(uri) or ".") + _anchor(link["anchor"])

    return LINK.sub(on_site, (ROOT / origin).read_text(encoding="utf-8") if text is None else text)


def _uri(path):
    """Return where the site has a file or folder of the repository."""
    if (ROOT / path).is_dir():
        path = min(ROOT.joinpath(path).glob("*.ipynb")).relative_to(ROOT).as_posix()
    if path == "README.md":
        return "index.md"
    if path == "CONTRIBUTING.md":
        return "contributing.md"
    if path.endswith(".ipynb"):
        return path.removesuffix(".ipynb") + ".md"
    return f"source/{path}.md" if path.endswith(".py") else path.removeprefix("docs/")


def _anchor(line):
    """Return the place of a line on the page of its source."""
    return line.replace("#L", "#__codelineno-0-") if line else ""
