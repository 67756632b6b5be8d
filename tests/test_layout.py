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

from trackime_apps.cli import COMMANDS

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = {"trackime": ROOT / "trackime", "trackime_apps": ROOT / "apps"}
LINES = 400
SHIPPED = (".py", ".typed", ".safetensors")

# What each part of trackime may import from trackime, itself aside.
BASE = {"lazy", "errors", "files", "config", "devices", "registry", "types", "geometry"}
READING = {"video", "containers", "decoded", "images", "packets", "encoding", "writing", "cuts", "maskio"}
MIDDLE = READING | {"weights", "models", "pretrained", "formats", "metrics", "returns"}
ALLOWED: dict[str, set[str]] = {
    "lazy": set(),
    "errors": set(),
    "files": {"errors"},
    "config": {"errors"},
    "devices": {"errors"},
    "registry": {"errors"},
    "types": {"errors", "files"},
    "geometry": {"errors", "files", "types"},
    **{part: BASE | READING for part in READING},
    "weights": BASE,
    "pretrained": {"errors"},
    "checkpoints": set(),
    "download": {"errors"},
    "models": BASE | {"weights", "checkpoints", "download"},
    "formats": BASE,
    "metrics": BASE,
    "returns": {"errors", "types"},
    "worlds": {"errors", "types", "geometry"},
    "datasets": BASE | READING | {"metrics"},
    "trackers": BASE | MIDDLE,
    "segmenters": BASE | MIDDLE,
    "ime": BASE | MIDDLE | {"trackers", "segmenters"},
    "training": BASE | MIDDLE | {"trackers", "segmenters", "worlds", "datasets"},
}


def sources(name: str) -> list[Path]:
    return sorted(p for p in PACKAGES[name].rglob("*.py") if "__pycache__" not in p.parts)


def module_of(path: Path, package: str) -> str:
    parts = path.relative_to(PACKAGES[package]).with_suffix("").parts
    return ".".join((package, *(parts[:-1] if parts[-1] == "__init__" else parts)))


def imports(path: Path, package: str) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of everything a file imports, late imports and relative ones included."""
    here = module_of(path, package).split(".")
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


def part_of(dotted: str) -> str | None:
    """The part of trackime a name belongs to; None for other packages and for trackime's own public names."""
    first, *rest = dotted.split(".")
    if first != "trackime" or not rest:
        return None
    target = PACKAGES["trackime"] / rest[0]
    return rest[0] if target.is_dir() or target.with_suffix(".py").exists() else None


def run(*command: str, cwd: Path | str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=240, check=False)


# ---- who imports whom


def test_every_part_has_its_place() -> None:
    parts = {part_of(module_of(path, "trackime")) for path in sources("trackime")} - {None}
    assert parts <= set(ALLOWED), f"give these their place in ALLOWED: {sorted(parts - set(ALLOWED))}"  # type: ignore[type-var]


def test_dependencies_point_one_way() -> None:
    wrong = []
    for path in sources("trackime"):
        part = part_of(module_of(path, "trackime"))
        if part is None:
            continue
        for line, name in imports(path, "trackime"):
            target = part_of(name)
            if target not in (None, part) and target not in ALLOWED[part]:
                wrong.append(f"{path.relative_to(ROOT)}:{line}: {part} imports {target}")
    assert not wrong, "\n".join(wrong)


def test_allowed_has_no_way_back() -> None:
    # READING is one group (a video opens its writer); everything else is a strict order.
    def group(part: str) -> str:
        return "reading" if part in READING else part

    edges = {(group(a), group(b)) for a, targets in ALLOWED.items() for b in targets if group(a) != group(b)}
    parts = {group(part) for part in ALLOWED}
    while parts:
        leaves = {p for p in parts if not any(a == p and b in parts for a, b in edges)}
        assert leaves, f"a circle among {sorted(parts)}"
        parts -= leaves


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
    "name", ["trackime", "trackime_apps", *(place.partition(":")[0] for place, _ in COMMANDS.values())]
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
