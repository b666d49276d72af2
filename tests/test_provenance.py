"""The code digest changes with meaning and only with meaning."""

import shutil

import pytest

from ke_steps import _provenance


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package of three modules: step imports _helper imports _deep; settings is plumbing."""
    (tmp_path / "step.py").write_text(
        '"""Doc."""\nfrom ke_steps import _helper\nfrom ke_steps.settings import X\n\n'
        'def f(a):\n    """Doc."""\n    # why\n    return _helper.g(a)\n'
    )
    (tmp_path / "_helper.py").write_text("def g(a):\n    import ke_steps._deep\n    return a + 1\n")
    (tmp_path / "_deep.py").write_text("Y = 1\n")
    (tmp_path / "_other.py").write_text("Z = 1\n")
    (tmp_path / "settings.py").write_text("X = 1\n")
    monkeypatch.setattr(_provenance, "PACKAGE", tmp_path)

    def digest():
        _provenance._stripped_tree.cache_clear()
        _provenance._imports.cache_clear()
        return _provenance.code_digest("step")

    yield tmp_path, digest
    _provenance._stripped_tree.cache_clear()
    _provenance._imports.cache_clear()


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("file", "old", "new", "changes"),
    [
        ("step.py", "# why", "# because", False),
        ("step.py", '"""Doc."""', '"""Another."""', False),
        ("step.py", "f(a)", "f( a )", False),
        ("step.py", "g(a)", "g(-a)", True),
        ("_helper.py", "a + 1", "a + 2", True),
        ("_deep.py", "1", "2", True),
        ("_other.py", "1", "2", False),
        ("settings.py", "1", "2", False),
    ],
)
def test_digest_follows_meaning(package, file, old, new, changes):
    folder, digest = package
    before = digest()
    edit(folder / file, old, new)
    assert (digest() != before) == changes


def test_digest_does_not_depend_on_the_place(package, tmp_path_factory, monkeypatch):
    folder, digest = package
    before = digest()
    copy = shutil.copytree(folder, tmp_path_factory.mktemp("elsewhere") / "package")
    monkeypatch.setattr(_provenance, "PACKAGE", copy)
    assert digest() == before


def test_note_outside_a_job_is_ignored():
    _provenance.note("device", "cpu")
    assert _provenance.current() == {}
