"""The code digest changes with meaning and only with meaning."""

import ast
import shutil

import pytest

from ke_steps.job import provenance

FILES = {
    "step.py": (
        '"""Doc."""\n'
        "import json\n"
        "from ke_steps.room import helper\n"
        "from ke_steps.room.named import value\n"
        "from ke_steps.settings.study import X\n\n"
        'def f(a):\n    """Doc."""\n    # why\n    return helper.g(a) + value\n'
    ),
    "room/__init__.py": '"""A room."""\n',
    "room/helper.py": "def g(a):\n    import ke_steps.room.deep\n    return a + 1\n",
    "room/deep.py": "Y = 1\n",
    "room/named.py": "value = 1\n",
    "room/other.py": "Z = 1\n",
    "settings/study.py": "from ke_steps.settings import gone\nX = 1\n",
    "settings_like.py": "W = 1\n",
}
"""A step, what it imports in a room and in plumbing, and what it does not import."""


@pytest.fixture
def house(tmp_path, monkeypatch):
    """The folder of a package of ``FILES``, and the digest of its step as it is now."""
    folder = tmp_path / "ke_steps"
    for name, text in FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.setattr(provenance, "ROOT", tmp_path)

    def digest():
        provenance._read.cache_clear()
        return provenance.code_digest("step")

    yield folder, digest
    provenance._read.cache_clear()


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


@pytest.mark.parametrize(
    ("file", "old", "new", "changes"),
    [
        ("step.py", "# why", "# because", False),
        ("step.py", '"""Doc."""', '"""Another."""', False),
        ("step.py", "f(a)", "f( a )", False),
        ("step.py", "g(a)", "g(-a)", True),
        ("room/helper.py", "a + 1", "a + 2", True),
        ("room/named.py", "1", "2", True),
        ("room/deep.py", "1", "2", True),
        ("room/other.py", "1", "2", False),
        ("settings/study.py", "1", "2", False),
    ],
)
def test_digest_follows_meaning(house, file, old, new, changes):
    folder, digest = house
    before = digest()
    edit(folder / file, old, new)
    assert (digest() != before) == changes


def test_a_module_named_like_plumbing_counts(house):
    folder, digest = house
    edit(folder / "step.py", "import json", "import ke_steps.settings_like")
    before = digest()
    edit(folder / "settings_like.py", "1", "2")
    assert digest() != before


def test_digest_does_not_depend_on_the_place(house, tmp_path_factory, monkeypatch):
    folder, digest = house
    before = digest()
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    shutil.copytree(folder, elsewhere / "ke_steps")
    monkeypatch.setattr(provenance, "ROOT", elsewhere)
    assert digest() == before


@pytest.mark.parametrize(
    ("planted", "says"),
    [
        ("import ke_steps.gone", "ke_steps.gone"),
        ("import ke_steps.room", "ke_steps.room"),
        ("from ke_steps import room", "ke_steps"),
        ("from ke_steps.room import gone", "ke_steps.room"),
        ("from ke_steps.room.gone import x", "ke_steps.room.gone"),
        ("from .room import helper", "relative"),
    ],
)
@pytest.mark.parametrize("file", ["step.py", "room/deep.py"])
def test_an_import_that_leads_to_no_file_is_refused(house, file, planted, says):
    folder, digest = house
    with (folder / file).open("a") as text:
        text.write(f"\n\ndef late():\n    {planted}\n")
    with pytest.raises(ValueError, match=says):
        digest()


def test_nothing_is_imported_out_of_sight_of_the_digest():
    """Only import statements are followed; what is done ahead has a digest of its own."""
    command_line = provenance.ROOT / "ke_steps" / "job" / "command_line.py"
    for path in set((provenance.ROOT / "ke_steps").rglob("*.py")) - {command_line}:
        nodes = list(ast.walk(ast.parse(path.read_text())))
        used = {node.id for node in nodes if isinstance(node, ast.Name)}
        used |= {node.attr for node in nodes if isinstance(node, ast.Attribute)}
        assert not used & {"import_module", "__import__", "spec_from_file_location"}, path


def test_note_outside_a_job_is_ignored():
    provenance.note("device", "cpu")
    assert provenance.current() == {}


def test_the_digest_is_the_same_under_every_python(house):
    """Under 3.11 it is this one; a newer Python may not say the same code otherwise."""
    _, digest = house
    assert digest() == "861b1ff3700bdc32"


def test_a_running_job_does_not_hash_an_input_again(tmp_path, monkeypatch):
    table, other = tmp_path / "table", tmp_path / "other"
    for path in (table, other):
        path.write_text(path.name)
    hashed = []
    whole = provenance.hash_file
    monkeypatch.setattr(provenance, "hash_file", lambda path: (hashed.append(path), whole(path))[1])
    with provenance.recording("intervene", {}, {"a": table, "b": table}):
        assert provenance.hash_of_input(table) == whole(table)
        assert provenance.current()["inputs"] == {"a": whole(table), "b": whole(table)}
        assert hashed == [table]
        assert provenance.hash_of_input(other) == whole(other)
    assert provenance.hash_of_input(table) == whole(table)
    assert hashed == [table, other, table]
