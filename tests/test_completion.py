"""Shell completion: the scripts are taken by the shells and complete what they should."""

import shutil
import subprocess

import pytest

from bss2jax import config, data
from bss2jax.cli import main

CASES = [
    (["tr"], ["train"]),
    (["chip", "ca"], ["calibrate"]),
    (["train", "mnist_sp"], ["mnist_spiking"]),
    (["train", "digits", "layers.1.tau_me"], ["layers.1.tau_mem="]),
    (["train", "ow"], ["own.toml"]),
    (["train", "runs/"], ["runs/deep.toml"]),
    (["data", "show", "euro"], ["eurosat"]),
    (["completion", "f"], ["fish"]),
    (["train", "--res"], ["--resume"]),
    (["evaluate", "ru"], ["runs"]),
]


@pytest.fixture(params=["bash", "zsh", "fish"])
def shell(request, tmp_path, monkeypatch, capsys):
    """A shell, in a directory with its script, configs, a run and another file."""
    (tmp_path / "runs").mkdir()
    for name in ("own.toml", "own.txt", "runs/deep.toml"):
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    assert main(["completion", request.param]) == 0
    text = capsys.readouterr().out
    for name in ("bss2jax", *config.shipped(), *data.names(), "characterise"):
        assert name in text
    (tmp_path / "script").write_text(text)
    if shutil.which(request.param) is None:
        pytest.skip(f"no {request.param} on this machine")
    return request.param


def complete(shell, words):
    """What a shell offers for the last of some words."""
    line = " ".join(["bss2jax", *words])
    if shell == "bash":
        code = (
            f"source ./script; COMP_WORDS=({line}); COMP_CWORD={len(words)}; "
            f"COMP_LINE='{line}'; COMP_POINT={len(line)}; "
            f"_shtab_bss2jax bss2jax {words[-1]}; printf '%s\\n' \"${{COMPREPLY[@]}}\""
        )
        command = ["bash", "--norc", "-c", code]
    else:
        command = ["fish", "--no-config", "-c", f"source ./script; complete -C '{line}'"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    return [line.split("\t")[0].rstrip("/") for line in done.stdout.split("\n") if line]


def test_a_shell_completes_commands_configs_sets_and_files(shell):
    if shell == "zsh":  # whose completion takes a terminal: its own check of the script's grammar
        command = ["zsh", "--no-rcs", "-n", "script"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stderr) == (0, "")
        return
    for words, offered in CASES:
        assert complete(shell, words) == offered, words


def test_another_shell_is_one_line(capsys):
    with pytest.raises(SystemExit) as exit:
        main(["completion", "bahs"])
    assert exit.value.code == 2
    assert "no shell 'bahs' (did you mean 'bash'?)" in capsys.readouterr().err
