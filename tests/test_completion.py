"""Shell completion: the scripts are taken by the shells and complete what they should."""

import shutil
import subprocess

import pytest

from bss2jax import config, data
from bss2jax.cli import main
from bss2jax.completion import SHELLS, script

CASES = [
    (["tr"], ["train"]),
    (["chip", "ca"], ["calibrate"]),
    (["train", "mnist_sp"], ["mnist_spiking"]),
    (["train", "ow"], ["own.toml"]),
    (["data", "show", "euro"], ["eurosat"]),
    (["completion", "f"], ["fish"]),
    (["train", "--res"], ["--resume"]),
    (["evaluate", "ru"], ["runs"]),
]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A directory with a script for each shell, a config, a run and another file."""
    place = tmp_path_factory.mktemp("place")
    (place / "runs").mkdir()
    for name in ("own.toml", "own.txt"):
        (place / name).touch()
    return place


@pytest.fixture(scope="module", params=SHELLS)
def shell(request, place):
    if shutil.which(request.param) is None:
        pytest.skip(f"no {request.param} on this machine")
    with pytest.MonkeyPatch.context() as patch:
        printed = []
        patch.setattr("builtins.print", lambda *values, **_: printed.extend(values))
        assert main(["completion", request.param]) == 0
    (place / f"script.{request.param}").write_text(printed[0] + "\n")
    return request.param


def complete(shell, words, place):
    """What a shell offers for the last of some words."""
    line = " ".join(["bss2jax", *words])
    match shell:
        case "bash":
            code = (
                f"source script.bash; COMP_WORDS=({line}); COMP_CWORD={len(words)}; "
                f"COMP_LINE='{line}'; COMP_POINT={len(line)}; "
                f"_shtab_bss2jax bss2jax {words[-1]}; printf '%s\\n' \"${{COMPREPLY[@]}}\""
            )
            command = ["bash", "--norc", "-c", code]
        case "fish":
            command = ["fish", "--no-config", "-c", f"source script.fish; complete -C '{line}'"]
    done = subprocess.run(command, cwd=place, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    return [line.split("\t")[0].rstrip("/") for line in done.stdout.split("\n") if line]


def test_a_shell_completes_commands_configs_sets_and_files(shell, place):
    if shell == "zsh":  # whose completion takes a terminal: its own check of the script's grammar
        command = ["zsh", "--no-rcs", "-n", "script.zsh"]
        done = subprocess.run(command, cwd=place, capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stderr) == (0, "")
        return
    for words, offered in CASES:
        assert complete(shell, words, place) == offered, words


def test_every_script_names_what_there_is():
    import argparse

    from bss2jax.cli import _parser

    for shell in SHELLS:
        text = script(_parser(), shell)
        for name in ("bss2jax", *config.shipped(), *data.names(), "characterise"):
            assert name in text, (shell, name)
    with pytest.raises(ValueError, match="bash, zsh, fish"):
        script(argparse.ArgumentParser(), "tcsh")


def test_another_shell_is_one_line(capsys):
    with pytest.raises(SystemExit) as exit:
        main(["completion", "bahs"])
    assert exit.value.code == 2
    assert "no shell 'bahs' (did you mean 'bash'?)" in capsys.readouterr().err
