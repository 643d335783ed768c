"""The container recipes against what they are made of: Makefile, pyproject.toml, the lock, the checkout's files."""

import os
import re
import shlex
import subprocess
import tomllib

import pytest

from house.source import REPOSITORY, tracked_files

CONTAINERS = REPOSITORY / "containers"
DOCKER = (CONTAINERS / "Dockerfile").read_text(encoding="utf-8")
APPTAINER = (CONTAINERS / "isocenter.def").read_text(encoding="utf-8")
MAKEFILE = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
RECIPES = pytest.mark.parametrize("recipe", [DOCKER, APPTAINER], ids=["Docker", "Apptainer"])
#: Nothing at run time needs them. (Every rule names environment.yml, and Snakemake notes what stands in it.)
LEFT_OUT = {"tests", "docs", "benchmarks", "CONTRIBUTING.md"}


def instructions(text):
    """(instruction, rest) of a Dockerfile, continued lines joined."""
    joined = re.sub(r"\\\n\s*", " ", re.sub(r"^#.*\n", "", text, flags=re.MULTILINE))
    return [tuple(line.split(None, 1)) for line in joined.splitlines() if line.strip()]


def sections(text):
    """The sections of a definition file by name; the header's is ''."""
    parts = re.split(r"^%(\w+)\n", re.sub(r"^#.*\n", "", text, flags=re.MULTILINE), flags=re.MULTILINE)
    return {"": parts[0], **dict(zip(parts[1::2], parts[2::2], strict=True))}


def docker_copies():
    return {path for what, rest in instructions(DOCKER) if what == "COPY" for path in shlex.split(rest)[:-1]}


def apptainer_copies():
    pairs = [shlex.split(line) for line in sections(APPTAINER)["files"].splitlines() if line.strip()]
    assert all(target == f"/opt/isocenter/{source}" for source, target in pairs)
    return {source for source, _ in pairs}


def test_both_copy_the_same_and_all_that_runs():
    assert docker_copies() == apptainer_copies()
    top = {path.relative_to(REPOSITORY).parts[0] for path in tracked_files()}
    copied = {path.split("/")[0] for path in docker_copies()}
    assert {name for name in top if not name.startswith(".")} - LEFT_OUT == copied
    assert all((REPOSITORY / path).exists() for path in docker_copies())


def test_both_start_from_the_same_debian():
    base = re.search(r"^ARG BASE=docker\.io/library/(\S+)$", DOCKER, re.MULTILINE)[1]
    header = sections(APPTAINER)[""]
    assert re.search(r"^From: (\S+)$", header, re.MULTILINE)[1] == base
    assert base.startswith("debian:"), "its own Python is the one that the recipes install"


@RECIPES
def test_python_is_the_makefiles_and_the_projects(recipe):
    wanted = re.search(r"^PYTHON \?= (python(3\.\d+))$", MAKEFILE, re.MULTILINE)
    installed = set(re.findall(r"\bpython3\.\d+\b", recipe))
    assert installed == {wanted[1]}
    assert f"{wanted[1]}-venv" in recipe
    assert PROJECT["requires-python"] == f">={wanted[2]}"


@RECIPES
def test_the_environment_is_what_make_sets_up(recipe):
    """The recipes call the Makefile's target; it takes the lock with its hashes and compiles the kernels."""
    assert "make .venv/.ready" in recipe
    assert not re.search(r"pip3? install|--no-deps", recipe), "an installation beside the Makefile's"
    target = re.search(r"^\$\(VENV\)/\.ready: (.*)\n((?:\t.*\n)+)", MAKEFILE, re.MULTILINE)
    assert "requirements.lock" in target[1]
    assert "--require-hashes -r requirements.lock" in target[2]
    assert "compile_kernels" in target[2]
    assert re.search(r"^VENV   := \.venv$", MAKEFILE, re.MULTILINE)


@RECIPES
def test_kernels_are_for_any_machine(recipe):
    assert "NUMBA_CPU_NAME=x86-64-v3" in recipe
    assert 'NUMBA_CPU_FEATURES=""' in recipe
    if recipe is APPTAINER:  # at build and at run
        for section in ("post", "environment"):
            assert "NUMBA_CPU_NAME=x86-64-v3" in sections(APPTAINER)[section]


def test_the_entry_point_is_the_projects_command():
    (command,) = PROJECT["scripts"]
    assert ("ENTRYPOINT", f'["{command}"]') in instructions(DOCKER)
    assert sections(APPTAINER)["runscript"].strip() == f'exec {command} "$@"'
    for recipe in (DOCKER, APPTAINER):
        assert "PATH=/opt/isocenter/.venv/bin:$PATH" in recipe


def test_docker_runs_without_rights():
    users = [rest for what, rest in instructions(DOCKER) if what == "USER"]
    assert users
    assert users[-1] not in ("root", "0")


def test_the_shell_of_the_recipes_is_a_shells(tmp_path):
    """What a builder would run is at least shell: `sh -n` reads it."""
    texts = [rest for what, rest in instructions(DOCKER) if what == "RUN"]
    texts += [sections(APPTAINER)[name] for name in ("post", "environment", "runscript", "test")]
    texts.append((CONTAINERS / "kernels.sh").read_text(encoding="utf-8"))
    for text in texts:
        ended = subprocess.run(["sh", "-n"], input=text, text=True, capture_output=True, check=False)
        assert ended.returncode == 0, f"{text}\n{ended.stderr}"


def test_kernels_are_copied_where_they_may_be_written(tmp_path):
    """kernels.sh where the image is read-only: once a version, whole, and the same for the next job."""
    image, cache = tmp_path / "image", tmp_path / "cache"
    folder = image / "kernels-models-0123" / "models_abc"
    folder.mkdir(parents=True)
    (folder / "fit.nbi").write_text("index")
    text = (CONTAINERS / "kernels.sh").read_text(encoding="utf-8")
    text = text.replace("/opt/isocenter/scripts/isocenter/__pycache__", str(image))
    ask = text + '\nprintf "%s" "${NUMBA_CACHE_DIR-}"'

    def source(text=ask):
        return subprocess.run(
            ["sh", "-e", "-c", text], env={"PATH": "/usr/bin:/bin", "XDG_CACHE_HOME": str(cache)},
            capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip

    assert source() == "", "a folder that may be written to is used as it is"
    read_only = ask.replace('[ ! -w "$kernels" ]', "true")  # root may write anywhere
    assert read_only != ask
    where = source(read_only)
    assert where.startswith(str(cache / "isocenter"))
    assert source(read_only) == where
    assert [path.name for path in cache.rglob("*.nbi")] == ["fit.nbi"]
    assert (cache / "isocenter").joinpath(where, "models_abc", "fit.nbi").read_text() == "index"


@pytest.mark.parametrize("is_foreign", [False, True], ids=["new", "somebody else's"])
def test_kernels_go_elsewhere_where_the_callers_cache_cannot_be_written(tmp_path, is_foreign):
    """No home, or a cache on a file system that was not mounted: a folder of the caller's own, and of nobody else's."""
    image, common = tmp_path / "image", tmp_path / "tmp"
    (image / "kernels-models-0123" / "models_abc").mkdir(parents=True)
    common.mkdir()
    usual = common / f"isocenter-{os.getuid()}"
    if is_foreign:
        if os.getuid() != 0:
            pytest.skip("only root can make a folder of somebody else's")
        usual.mkdir()
        os.chown(usual, 12345, 12345)
    text = (CONTAINERS / "kernels.sh").read_text(encoding="utf-8")
    text = text.replace("/opt/isocenter/scripts/isocenter/__pycache__", str(image))
    text = text.replace('[ ! -w "$kernels" ]', "true")  # root may write anywhere
    ended = subprocess.run(
        ["sh", "-c", text + '\nprintf "%s %s" "$NUMBA_CACHE_DIR" "$XDG_CACHE_HOME"'],
        env={"PATH": "/usr/bin:/bin", "XDG_CACHE_HOME": "/dev/null/cache", "TMPDIR": str(common)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    kernels, caches = ended.stdout.split()
    assert kernels.startswith(f"{caches}/isocenter/kernels-")
    assert os.path.isdir(f"{kernels}/models_abc")
    assert caches.startswith(str(common))
    assert os.stat(caches).st_uid == os.getuid()
    assert os.stat(caches).st_mode & 0o077 == 0
    assert (caches == str(usual)) is not is_foreign


def test_the_callers_own_python_stays_outside():
    """Apptainer hands on the caller's environment, PYTHONPATH with the packages of another Python included."""
    text = sections(APPTAINER)["environment"].replace(". /opt/isocenter/containers/kernels.sh", "")
    ended = subprocess.run(
        ["sh", "-c", text + '\nprintf "%s" "${PYTHONPATH-none} ${PYTHONHOME-none}"'],
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": "/other", "PYTHONHOME": "/other"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert ended.stdout == "none none"
