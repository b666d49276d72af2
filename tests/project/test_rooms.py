"""The rooms of the house: who may import whom, what lies where, and what needs no torch."""

import ast
import re
import subprocess
import sys
from functools import cache
from graphlib import CycleError, TopologicalSorter

import pytest

from tests.invented.project import ROOT

HOUSE = ROOT / "ke_steps"
FLOORS = (
    ("settings", "job"),
    ("artefacts", "formulas", "hub"),
    ("texts", "summary"),
    ("checkpoints", "claims"),
    ("models", "figures", "report"),
    ("scoring", "measuring", "training"),
    ("steps",),
    ("study",),
    ("planning", "running", "public"),
)
"""From the ground up: a room imports from lower floors only. Steps import no step."""

LEAVES = {"settings": set(), "job": set(), "formulas": {"job"}, "hub": {"job"}}
"""Rooms that may import these alone."""

LIGHT = ("settings", "job", "formulas", "summary", "claims", "study", "planning", "running")
HEAVY = {"torch", "transformers", "matplotlib"}
"""What the light rooms never load."""

DOOR = "ke_steps.measure"
"""The command of the room ``public``: the only module directly in the house that is no step."""

NOT_ROOMS = {"steps", "workflow", "logger", "project", "invented", "benchmarks"}
"""Folders of tests that no room has."""


def modules_of(house):
    """Return {dotted name: path} of a package's modules, those of ``__init__`` left out."""
    return {
        ".".join(path.relative_to(house.parent).with_suffix("").parts): path
        for path in house.rglob("*.py")
        if path.name != "__init__.py"
    }


@cache
def import_statements(text):
    """Return the import statements of a file, wherever in it they stand."""
    return [n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Import | ast.ImportFrom)]


def imports_of(path, modules):
    """Return the modules of the house that a file imports."""
    found = set()
    for node in import_statements(path.read_text()):
        if isinstance(node, ast.Import):
            found |= {a.name for a in node.names if a.name.split(".")[0] == "ke_steps"}
        elif (node.module or "").split(".")[0] == "ke_steps":
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= (inner & modules.keys()) or {node.module}
    return found


def room_of(module):
    """Return the room of a dotted module; one directly in the house is a step, but for the door."""
    _, room, *inner = module.split(".")
    return room if inner else "public" if module == DOOR else "steps"


def broken_laws(house):
    """Return a line for each import that runs up or sideways, and for the first circle."""
    modules = modules_of(house)
    floor = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
    graph = {name: imports_of(path, modules) for name, path in modules.items()}
    broken = []
    for module, targets in graph.items():
        room = room_of(module)
        for target in targets - modules.keys():
            broken.append(f"{module} imports {target}, which is no module")
        for target in targets & modules.keys():
            other = room_of(target)
            if other == room != "steps":
                continue
            is_allowed = other in LEAVES.get(room, {other}) and floor[other] < floor[room]
            broken += [] if is_allowed else [f"{module} imports {target}"]
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        broken.append(f"a circle: {' → '.join(error.args[1])}")
    return broken


def test_imports_run_down_and_never_in_a_circle():
    assert broken_laws(HOUSE) == []


@pytest.mark.parametrize(
    ("module", "planted", "says"),
    [
        ("job/files", "from ke_steps.settings.types import Count", "ke_steps.job.files imports"),
        ("formulas/entropy", "from ke_steps.artefacts.parquet import read_table", "imports"),
        ("texts/world", "import ke_steps.models.loading", "ke_steps.texts.world imports"),
        ("texts/world", "from ke_steps.summary import rows", "ke_steps.texts.world imports"),
        ("models/ranks", "from ke_steps import fit_decay", "ke_steps.models.ranks imports"),
        ("fit_decay", "from ke_steps.evaluate_knowledge import run", "ke_steps.fit_decay imports"),
        ("claims/findings", "from ke_steps.claims.judging import claims", "a circle: "),
        ("training/log", "from ke_steps.public.call import measure", "training.log imports"),
        ("summarize", "from ke_steps.measure import main", "ke_steps.summarize imports"),
        ("hub/refs", "from ke_steps.hub.gone import x", "ke_steps.hub.gone, which is no module"),
    ],
)
@pytest.mark.parametrize("place", ["{}", "def late():\n    {}", "if TYPE_CHECKING:\n    {}"])
def test_a_planted_import_is_found(tmp_path, module, planted, says, place):
    for path in HOUSE.rglob("*.py"):
        copy = tmp_path / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(path.read_text())
    with (tmp_path / f"ke_steps/{module}.py").open("a") as file:
        file.write(f"\n\n{place.format(planted)}\n")
    (line,) = broken_laws(tmp_path / "ke_steps")
    assert says in line


def test_every_room_has_a_floor():
    rooms = {path.parent.name for path in HOUSE.glob("*/__init__.py")}
    assert rooms == {path.parent.name for path in HOUSE.glob("*/*.py")}
    assert rooms | {"steps"} == {room for rooms in FLOORS for room in rooms}


def test_the_modules_of_the_top_floor_are_those_of_the_rules():
    rules = "".join(path.read_text() for path in (ROOT / "workflow/rules").glob("*.smk"))
    called = set(re.findall(r"\bstep\(\s*\"(\w+)\"", rules))
    assert called == {path.stem for path in HOUSE.glob("*.py")} - {"__init__", "measure"}


def test_no_file_hides_behind_an_underscore():
    assert not [path for path in HOUSE.rglob("_*.py") if path.name != "__init__.py"]


def test_rooms_hold_no_code_of_their_own():
    """Importing one module of a room must not load the others."""
    for path in HOUSE.glob("*/__init__.py"):
        (purpose,) = ast.parse(path.read_text()).body
        assert isinstance(purpose, ast.Expr), path


@pytest.mark.parametrize(
    ("rooms", "more", "heavy"),
    [
        (LIGHT, ["ke_steps.summarize"], HEAVY),
        # each start of Snakemake, and of every job by it, loads these
        (("settings", "study"), [], HEAVY | {"numpy", "pandas", "scipy", "pyarrow"}),
    ],
    ids=["light", "workflow"],
)
def test_light_rooms_load_nothing_heavy(rooms, more, heavy):
    light = sorted(name for name in modules_of(HOUSE) if room_of(name) in rooms)
    code = f"import {', '.join([*light, *more])}, sys; print(*({heavy} & set(sys.modules)))"
    run = [sys.executable, "-c", code]
    assert subprocess.check_output(run, cwd=ROOT, text=True).split() == []


def test_the_public_names_load_nothing_heavy_until_they_are_called():
    code = f"from ke_steps import measure; import sys; print(*({HEAVY} & set(sys.modules)))"
    run = [sys.executable, "-c", code]
    assert subprocess.check_output(run, cwd=ROOT, text=True).split() == []


def test_the_tests_repeat_the_tree():
    """``tests/<room>/test_<module>[_<aspect>].py``, and for the room as a whole its own name."""
    for path in (ROOT / "tests").glob("*/test_*.py"):
        folder = path.parent.name
        if folder in NOT_ROOMS - {"steps"}:
            continue
        inside = HOUSE if folder == "steps" else HOUSE / folder
        names = [folder, *(module.stem for module in inside.glob("*.py"))]
        assert any(f"{path.stem}_".startswith(f"test_{name}_") for name in names), path
    assert not list((ROOT / "tests").glob("test_*.py"))
