"""The shape of the project: who may import whom, how cheap an import is, and what the wheel holds."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from trackime_apps.cli import _COMMANDS

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = {"trackime": ROOT / "trackime", "trackime_apps": ROOT / "apps"}
LINES = 400
SHIPPED = (".py", ".pyi", ".typed", ".safetensors")

# What each part of trackime may import from trackime, itself aside.
BASE = {"errors", "files", "arrays", "config", "registry", "devices", "progress", "types", "geometry"}
SHARED = {"video", "checkpoints", "patches", "imaging", "formats", "metrics"}
ALLOWED: dict[str, set[str]] = {
    "errors": set(),
    "arrays": {"errors"},
    "progress": {"errors"},
    "files": {"errors"},
    "config": {"errors"},
    "devices": {"errors"},
    "registry": {"errors"},
    "types": {"errors", "arrays", "files"},
    "geometry": {"errors", "arrays", "files", "types"},
    **{part: BASE for part in SHARED},
    "worlds": BASE - {"devices"},
    "datasets": BASE | {"video", "metrics"},
    "trackers": BASE | SHARED,
    "segmenters": BASE | SHARED,
    "ime": BASE | SHARED | {"trackers", "segmenters"},
    "dense": BASE | SHARED | {"trackers", "segmenters", "ime"},
    "training": BASE | SHARED | {"trackers", "segmenters", "worlds", "datasets"},
}
APPS: dict[str, set[str]] = {
    "vos": set(),
    "interp": set(),
    "depth": set(),
    "run": {"vos", "interp", "depth"},
    "commands": {"vos", "interp", "depth", "run", "cli"},
    "cli": set(),
    "__main__": {"cli"},
}
"""What each part of the applications may import from them, itself aside."""
TOPS = ("trackime", "trackime_apps")
"""Their files are public modules; every other folder shows what is public by the names of its `__init__`."""


def sources(name: str) -> list[Path]:
    return sorted(p for p in PACKAGES[name].rglob("*.py") if "__pycache__" not in p.parts)


def module_of(path: Path, package: str) -> str:
    parts = path.relative_to(PACKAGES[package]).with_suffix("").parts
    return ".".join((package, *(parts[:-1] if parts[-1] == "__init__" else parts)))


def imports(path: Path, package: str) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of everything a file imports, late imports and relative ones included."""
    here = module_of(path, package).split(".") if package in PACKAGES else [package, path.stem]
    if path.name != "__init__.py":
        here = here[:-1]
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = here[: len(here) - node.level + 1] if node.level else []
            stem = ".".join([*base, *([node.module] if node.module else [])])
            # `from trackime import types` imports trackime.types.
            yield from ((node.lineno, f"{stem}.{alias.name}") for alias in node.names)


def part_of(dotted: str, package: str = "trackime") -> str | None:
    """The part of a package a name belongs to; None for other packages and for the package's own public names."""
    first, *rest = dotted.split(".")
    if first != package or not rest:
        return None
    target = PACKAGES[package] / rest[0]
    return rest[0] if target.is_dir() or target.with_suffix(".py").exists() else None


def stub(folder: Path) -> dict[str, str]:
    """The public names of a folder, and the module below it that each comes from."""
    path = folder / "__init__.pyi"
    tree = ast.parse(path.read_text()) if path.exists() else ast.Module([], [])
    return {
        alias.name: node.module or ""
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and node.level == 1
        for alias in node.names
    }


def home(dotted: str) -> str | None:
    """The module that a dotted name is defined in: through the public names of folders down to the file."""
    first, *rest = dotted.split(".")
    if first not in PACKAGES:
        return None
    folder, module = PACKAGES[first], [first]
    while rest:
        name, *rest = rest
        names = stub(folder)
        if name in names:
            rest = [*names[name].split("."), *rest]
            continue
        module.append(name)
        folder = folder / name
        if not folder.is_dir():
            return ".".join(module) if folder.with_suffix(".py").exists() else None
    return None


def run(*command: str, cwd: Path | str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=240, check=False)


# ---- who imports whom


def parts_and_imports(package: str, allowed: dict[str, set[str]]) -> list[str]:
    """Imports from one part to another that `allowed` does not name."""
    wrong = []
    for path in sources(package):
        part = part_of(module_of(path, package), package)
        if part is None:
            continue
        for line, name in imports(path, package):
            target = part_of(name, package)
            if target not in (None, part) and target not in allowed[part]:
                wrong.append(f"{path.relative_to(ROOT)}:{line}: {part} imports {target}")
    return wrong


@pytest.mark.parametrize(("package", "allowed"), [("trackime", ALLOWED), ("trackime_apps", APPS)])
def test_every_part_has_its_place(package: str, allowed: dict[str, set[str]]) -> None:
    parts = {part_of(module_of(path, package), package) for path in sources(package)} - {None}
    assert parts == set(allowed), f"give these their place: {sorted(parts ^ set(allowed))}"  # type: ignore[type-var]


@pytest.mark.parametrize(("package", "allowed"), [("trackime", ALLOWED), ("trackime_apps", APPS)])
def test_dependencies_point_one_way(package: str, allowed: dict[str, set[str]]) -> None:
    wrong = parts_and_imports(package, allowed)
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("allowed", [ALLOWED, APPS])
def test_allowed_has_no_way_back(allowed: dict[str, set[str]]) -> None:
    parts = set(allowed)
    while parts:
        leaves = {part for part in parts if not allowed[part] & parts}
        assert leaves, f"a circle among {sorted(parts)}"
        parts -= leaves


def test_no_files_import_each_other() -> None:
    """Late imports and imports for types alone count, too: what knows each other belongs in one file."""
    graph = {
        module_of(path, package): {target for _, name in imports(path, package) if (target := home(name))}
        for package in PACKAGES
        for path in sources(package)
        if path.name != "__init__.py"
    }
    left = set(graph)
    while leaves := {module for module in left if not graph[module] & left - {module}}:
        left -= leaves
    assert not left, f"circles among: {sorted(left)}"


def test_a_folder_is_entered_by_its_public_names() -> None:
    wrong = []
    files = [(path, package) for package in PACKAGES for path in sources(package)]
    for path, package in [*files, *((path, "benchmarks") for path in sorted((ROOT / "benchmarks").glob("*.py")))]:
        here = f"benchmarks.{path.stem}" if package == "benchmarks" else module_of(path, package)
        for line, name in imports(path, package):
            parts = name.split(".")
            if parts[0] not in PACKAGES or (place := home(name)) is None:
                continue
            folder = place.rpartition(".")[0]
            if folder in TOPS or here == folder or here.startswith(f"{folder}."):
                continue
            # A public name of the folder or of one around it, or a module that is public.
            owner = name.rpartition(".")[0]
            if not f"{place}.".startswith(f"{owner}.") or owner == place or parts[-1].startswith("_"):
                wrong.append(f"{path.relative_to(ROOT)}:{line}: {name}: expected a name of {folder}'s __init__.pyi")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("package", list(PACKAGES))
def test_public_names_of_every_folder_are_there(package: str) -> None:
    from importlib import import_module

    for path in sources(package):
        if path.name == "__init__.py" and path.parent != PACKAGES[package]:
            module = import_module(module_of(path, package))
            names = stub(path.parent)
            assert not names or sorted(module.__all__) == sorted(names), path
            missing = [name for name in names if getattr(module, name, None) is None]
            assert not missing, f"{path}: {missing}"


def test_applications_know_no_click() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line}: {name}"
        for folder in ("vos", "interp", "depth")
        for path in sorted((PACKAGES["trackime_apps"] / folder).rglob("*.py"))
        for line, name in imports(path, "trackime_apps")
        if name.split(".")[0] in ("click", "rich")
    ]
    assert not wrong, "\n".join(wrong)


def test_trackime_knows_nothing_of_the_apps() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line}: {name}"
        for path in sources("trackime")
        for line, name in imports(path, "trackime")
        if name.split(".")[0] in ("trackime_apps", "apps", "tests", "benchmarks")
    ]
    assert not wrong, "\n".join(wrong)


def test_apps_import_no_tests_or_benchmarks() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line}: {name}"
        for path in sources("trackime_apps")
        for line, name in imports(path, "trackime_apps")
        if name.split(".")[0] in ("apps", "tests", "benchmarks")
    ]
    assert not wrong, "\n".join(wrong)


def test_the_check_sees_every_kind_of_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "formats").mkdir()
    path = tmp_path / "formats" / "bad.py"
    path.write_text(
        "import trackime.ime\nfrom trackime import trackers\nfrom ..datasets import x\nfrom .. import video\n"
        "def f():\n    from trackime.types import Tracks\n"
    )
    monkeypatch.setitem(PACKAGES, "trackime", tmp_path)
    names = [name.removeprefix("trackime.") for _, name in imports(path, "trackime")]
    assert names == ["ime", "trackers", "datasets.x", "video", "types.Tracks"]


# ---- importing is cheap


@pytest.mark.parametrize(
    "name", ["trackime", "trackime_apps", *(place.partition(":")[0] for place, _ in _COMMANDS.values())]
)
def test_importing_loads_nothing_heavy(name: str) -> None:
    heavy = "'torch', 'cv2', 'av', 'scipy', 'skimage', 'transformers'"
    code = f"import sys, {name}; print([m for m in ({heavy}) if m in sys.modules])"
    done = run(sys.executable, "-c", code, cwd="/tmp")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


def test_public_names_are_there() -> None:
    import trackime

    for name in trackime.__all__:
        assert getattr(trackime, name) is not None
    assert set(dir(trackime)) >= set(trackime.__all__)
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = trackime.no_such_name


def test_apps_is_no_package_outside_the_checkout() -> None:
    done = run(sys.executable, "-c", "import apps", cwd="/tmp")
    assert done.returncode == 1 and "No module named 'apps'" in done.stderr


# ---- packages, files, wheel


def test_package_list_is_the_tree() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    found = {module_of(p, name) for name in PACKAGES for p in sources(name) if p.name == "__init__.py"}
    listed = settings["packages"]
    assert len(set(listed)) == len(listed)
    assert set(listed) == found, f"missing: {sorted(found - set(listed))}; gone: {sorted(set(listed) - found)}"
    assert settings["package-dir"] == {"trackime_apps": "apps"}


def test_every_folder_with_code_is_a_package() -> None:
    bare = {
        str(path.parent.relative_to(ROOT))
        for name in PACKAGES
        for path in sources(name)
        if not (path.parent / "__init__.py").exists()
    }
    assert not bare


def test_no_file_is_too_long() -> None:
    lengths = {p.relative_to(ROOT): len(p.read_text().splitlines()) for name in PACKAGES for p in sources(name)}
    long = [f"{path}: {count} lines" for path, count in lengths.items() if count > LINES]
    assert not long, f"expected at most {LINES} lines: " + "; ".join(long)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """What is in the wheel, built offline from a copy of what a checkout has."""
    copy, out = tmp_path_factory.mktemp("copy"), tmp_path_factory.mktemp("out")
    ignore = shutil.ignore_patterns("__pycache__", "*.pyc")
    for name in ("trackime", "apps", "tests", "benchmarks"):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, copy / name, ignore=ignore)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy / name)
    # Only the environment's own setuptools: no network, no index.
    options = ("--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--disable-pip-version-check")
    done = run(sys.executable, "-m", "pip", "wheel", *options, "-w", str(out), ".", cwd=copy)
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = out.glob("*.whl")
    return set(zipfile.ZipFile(path).namelist())


def test_the_wheel_is_the_tree(wheel: set[str]) -> None:
    tree = {
        f"{name}/{path.relative_to(folder).as_posix()}"
        for name, folder in PACKAGES.items()
        for path in folder.rglob("*")
        if path.suffix in SHIPPED and "__pycache__" not in path.parts
    }
    packed = {name for name in wheel if ".dist-info/" not in name}
    assert packed == tree, f"missing: {sorted(tree - packed)}; too much: {sorted(packed - tree)}"
    assert {"trackime/py.typed", "trackime_apps/py.typed"} <= packed


def test_the_wheel_installs_two_packages_only(wheel: set[str]) -> None:
    tops = {name.split("/")[0] for name in wheel}
    (info,) = (top for top in tops if top.endswith(".dist-info"))
    assert tops == {"trackime", "trackime_apps", info}
    assert f"{info}/entry_points.txt" in wheel and f"{info}/licenses/LICENSE" in wheel
