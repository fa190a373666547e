"""A fingerprint of the code that numbers come from, blind to words: comments, docstrings and where files stand.

A commit changes with every word of the documentation, and there is none in an installed package. This changes with
what is computed, and with nothing else, so that runs of the same code can stand in one mean.
"""

import ast
import hashlib
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import sasa_cli

PACKAGE = Path(sasa_cli.__file__).parent
NAME = PACKAGE.name
ENTRY = f"{NAME}.training.run"
WORDS_ONLY = ("errors", "experiment", "runs")
"""What training imports and no number depends on: what messages say, how YAML becomes a spec (which has a hash of its
own), and how results are written."""
COMPILED = (".cpp", ".h", ".cu")
LAZY = re.compile(rf"{NAME}(\.\w+)+(:\w+)?")  # a module named in a string, to be imported when it is needed
# Strings and characters are kept as they are; comments between them go.
CPP_TOKENS = re.compile(r'"(?:\\.|[^"\\])*"|\'(?:\\.|[^\'\\])*\'|//[^\n]*|/\*.*?\*/', re.DOTALL)
OWN_INCLUDE = re.compile(r'^\s*#\s*include\s+".*?"', re.MULTILINE)
UNSAID: tuple[object, ...] = (
    None,
    [],
)  # fields of a syntax tree that one version of Python writes and another leaves out


@cache
def code_fingerprint(package: Path = PACKAGE) -> str:
    """SHA-256 over every source that the numbers of a run come from, whatever its name and place.

    Those are the modules that `training.run` leads to by imports, at the top of a file or inside a function, and by
    dotted names in tables; and the C++ beside them.
    """
    modules = training_modules(package)
    folders = {file.parent for file in modules}
    compiled = [file for folder in folders for file in folder.iterdir() if file.suffix in COMPILED]
    digests = [_digest(_python(file.read_text(encoding="utf-8"))) for file in modules]
    digests += [_digest(_cpp(file.read_text(encoding="utf-8"))) for file in compiled]
    return _digest("\n".join(sorted(digests)))


def training_modules(package: Path = PACKAGE) -> list[Path]:
    """The Python files that training uses, each once."""
    waiting, found = [ENTRY], dict[str, Path]()
    while waiting:
        name = waiting.pop()
        if name in found or _room(name) in WORDS_ONLY:
            continue
        file = _file(package, name)
        if file is not None:
            found[name] = file
            waiting += _named(ast.parse(file.read_text(encoding="utf-8")))
            waiting.append(name.rpartition(".")[0])  # a package's own file is run before what is inside it
    return sorted(found.values())


def _room(module: str) -> str:
    return f"{module}..".split(".")[1]


def _file(package: Path, module: str) -> Path | None:
    """Of a module of this package; None for what is none, such as a name inside a module."""
    path = package.joinpath(*module.split(".")[1:])
    files = [file for file in (path.with_suffix(".py"), path / "__init__.py") if module and file.is_file()]
    return files[0] if files and path != package else None


def _named(tree: ast.AST) -> Iterator[str]:
    """Every module of this package that a tree imports or names."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and _is_ours(node.module):
            yield str(node.module)
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if _is_ours(alias.name))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and LAZY.fullmatch(node.value):
            yield node.value.partition(":")[0]


def _is_ours(module: str | None) -> bool:
    return module is not None and (module == NAME or module.startswith(f"{NAME}."))


def _python(source: str) -> str:
    """What a source computes: its syntax tree without strings that stand alone and without places of our modules."""
    return _written(ast.parse(source))


def _written(node: object) -> str:
    if isinstance(node, list):
        return "[" + ",".join(_written(item) for item in node if not _says_nothing(item)) + "]"
    if isinstance(node, ast.Constant) and isinstance(node.value, str) and LAZY.fullmatch(node.value):
        return repr(node.value.partition(":")[2])
    if isinstance(node, ast.AST):
        fields = [(name, value) for name, value in ast.iter_fields(node) if value not in UNSAID]
        return f"{type(node).__name__}({','.join(f'{name}={_written(value)}' for name, value in fields)})"
    return repr(node)


def _says_nothing(node: object) -> bool:
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    if isinstance(node, ast.ImportFrom):
        return _is_ours(node.module)
    return isinstance(node, ast.Import) and all(_is_ours(alias.name) for alias in node.names)


def _cpp(source: str) -> str:
    """A source without comments, without the names of our headers, and with single spaces."""
    bare = CPP_TOKENS.sub(lambda found: " " if found[0].startswith("/") else found[0], source)
    return " ".join(OWN_INCLUDE.sub("", bare).split())


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
