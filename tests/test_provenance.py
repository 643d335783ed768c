"""A change of code reruns what it touches, and nothing else."""

from isocenter import provenance


def test_a_step_knows_the_modules_behind_it():
    files = {p.name for p in provenance.imported_files(provenance.SCRIPTS / "pool_measurements.py")}
    assert {"pool_measurements.py", "flow.py", "tables.py", "entities.py"} <= files
    assert "registration.py" not in files


def forget_sources():
    for function in ("code_digest", "_content", "_needs", "_imports", "_file_of"):
        getattr(provenance, function).cache_clear()


def test_imports_are_found_wherever_they_stand(tmp_path):
    source = """
import isocenter.a, numpy
if x:
    from isocenter import b
else:
    try:
        with y:
            import isocenter.c
    except Z:
        from isocenter.d import e
    finally:
        def f():
            async def g():
                import isocenter.h
match x:
    case 1:
        class K:
            import isocenter.k
"""
    path = tmp_path / "work.py"
    path.write_text(source)
    found = {name.rpartition(".")[2] for name in provenance._imports(path)}
    assert found == {"a", "b", "c", "d", "e", "h", "k", "isocenter"}


def test_only_the_model_that_a_job_uses_counts(tmp_path, monkeypatch):
    package = tmp_path / "isocenter"
    (package / "models").mkdir(parents=True)
    for name in ("__init__", "models/__init__", "models/one", "models/two", "other"):
        (package / f"{name}.py").write_text("")
    (package / "models" / "one.py").write_text("from isocenter import other\n")
    (tmp_path / "work.py").write_text("from isocenter import models\n")
    monkeypatch.setattr(provenance, "SCRIPTS", tmp_path)

    def digests():
        forget_sources()
        return [provenance.code_digest("work", models=(name,)) for name in ("one", "two")]

    before = digests()
    (package / "models" / "one.py").write_text("x = 1\n")
    after = digests()
    assert before[0] != after[0]
    assert before[1] == after[1]
    (package / "other.py").write_text("x = 1\n")
    assert digests()[0] == after[0]  # one.py no longer imports it
    (package / "models" / "__init__.py").write_text("x = 1\n")
    assert all(new != old for new, old in zip(digests(), after, strict=True))
    forget_sources()


def test_the_report_is_its_templates_too():
    names = {p.name for p in provenance.imported_files(provenance.SCRIPTS / "make_report.py")}
    assert {"style.css", "tables.js", "citations.tsv"} <= names


def test_a_new_file_changes_the_tree(tmp_path):
    (tmp_path / "a").write_text("1")
    before = provenance.tree_digest(tmp_path)
    assert provenance.tree_digest(tmp_path) == before
    (tmp_path / "b").write_text("2")
    assert provenance.tree_digest(tmp_path) != before
    with open(bytes(tmp_path) + b"/caf\xe9", "wb"):
        pass
    (tmp_path / "nowhere").symlink_to(tmp_path / "never")
    assert len(provenance.tree_digest(tmp_path)) == 12
    assert provenance.tree_digest(tmp_path / "absent") == provenance.tree_digest(tmp_path / "also_absent")
