"""`isocenter completion SHELL` in the real shells."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ISOCENTER = Path(sys.executable).with_name("isocenter")
#: Each shell loads the script, then is asked for the words at a cursor, in the way that shell has for it.
ASK = {
    "bash": 'source "$SCRIPT"; COMP_WORDS=({words} ""); COMP_CWORD={n}; '
    "$(complete -p isocenter | sed 's/.*-F \\([^ ]*\\) .*/\\1/') isocenter; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
    "fish": 'source $SCRIPT; complete --do-complete "{words} "',
    "zsh": "compdef() {{ :; }}; _arguments() {{ print -r -- $@ }}; source $SCRIPT; words=({words} ''); "
    "CURRENT=$#words; _isocenter_completion",
}


def shell_that_exists(name):
    if shutil.which(name) is None:
        pytest.skip(f"{name} is not on this machine")
    return name


def complete(shell, words, cwd, home):
    environment = os.environ | {"PATH": f"{ISOCENTER.parent}{os.pathsep}{os.environ['PATH']}", "HOME": str(home)}
    script = home / f"completion.{shell}"
    if not script.exists():
        text = subprocess.run([ISOCENTER, "completion", shell], capture_output=True, text=True, check=True).stdout
        script.write_text(text, encoding="utf-8")
    command = ASK[shell].format(words=words, n=len(words.split()))
    options = {"bash": ["--norc"], "zsh": ["-f"], "fish": ["--no-config"]}[shell]
    ended = subprocess.run(
        [shell, *options, "-c", command], cwd=cwd, env=environment | {"SCRIPT": str(script)},
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


@pytest.fixture
def trial(tmp_path):
    for site in ("siteX", "siteY", "_template"):
        (tmp_path / "trial" / "sites" / site).mkdir(parents=True)
        (tmp_path / "trial" / "sites" / site / "site.yaml").touch()
    return tmp_path / "trial"


@pytest.mark.parametrize("shell", ASK)
def test_a_shell_completes_commands_and_sites(shell, trial, tmp_path):
    shell = shell_that_exists(shell)
    commands = complete(shell, "isocenter", trial, tmp_path)
    assert "check-site" in commands
    assert "exclude" in commands
    sites = complete(shell, "isocenter check-site", trial, tmp_path)
    assert "siteX" in sites
    assert "siteY" in sites
    assert "_template" not in sites


def test_bash_completes_options_and_values(trial, tmp_path):
    """As a reader types: part of a word, and TAB."""
    shell_that_exists("bash")
    complete("bash", "isocenter", trial, tmp_path)
    ask = (
        'source "$SCRIPT"; COMP_WORDS=(isocenter export --to par); COMP_CWORD=3; _isocenter_completion isocenter; '
        'echo "${COMPREPLY[@]}"; COMP_WORDS=(isocenter fit --ro); COMP_CWORD=2; _isocenter_completion isocenter; '
        'echo "${COMPREPLY[@]}"'
    )
    environment = os.environ | {
        "PATH": f"{ISOCENTER.parent}{os.pathsep}{os.environ['PATH']}",
        "SCRIPT": str(tmp_path / "completion.bash"),
    }
    ended = subprocess.run(["bash", "--norc", "-c", ask], env=environment, capture_output=True, text=True, check=True)
    assert ended.stdout.split() == ["parametric-map", "--robust"]


def test_an_unknown_shell_is_refused():
    ended = subprocess.run([ISOCENTER, "completion", "tcsh"], capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert "bash" in ended.stderr
