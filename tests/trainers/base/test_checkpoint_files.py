"""Checkpoints on the disk: whole at any moment, passed over when they are damaged, deleted only when they are spare."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from evaluation.loading import InputError
from tests.trainers.killed_runs import kill_at
from trainers.base import checkpoint_files as files
from trainers.base.checkpoint_files import MANIFEST, chosen_checkpoint, damage, in_the_way, last_complete, rotate, seal

NAMES = ("model.safetensors", "optimizer.pt", "rng_state.pth", "trainer_state.json", "shards/model-1.distcp")


def write(output_dir: Path, step: int, best: int | None = None, limit: int | None = None) -> Path:
    """A checkpoint of five files, as the trainer writes one."""
    folder = output_dir / f"checkpoint-{step}"
    files.remove_partial(output_dir)
    for name in NAMES:
        path = files.partial(folder) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(f"{name} after {step}".encode() * 100)
    seal(folder)
    rotate(output_dir, limit, folder, best and str(output_dir / f"checkpoint-{best}"))
    return folder


def names(output_dir: Path) -> list[str]:
    return sorted(path.name for path in output_dir.iterdir())


def in_another_process(work: Callable[[], None]) -> int:
    """The signal that ended a fork of this process which did the work; 0 where it came to its end."""
    process = os.fork()
    if process == 0:
        try:
            work()
            os._exit(0)
        except BaseException:
            os._exit(1)
    status = os.waitpid(process, 0)[1]
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0


@pytest.mark.slow
def test_whatever_moment_a_process_is_killed_at_the_best_and_a_last_one_are_whole(tmp_path):
    """Killed at each file operation of writing checkpoint 6 in the place of a damaged one, and of deleting 1 and 4."""
    moment, seen = 0, set()
    while True:
        output_dir = tmp_path / str(moment)
        output_dir.mkdir()
        for step in (1, 2, 4, 6):
            write(output_dir, step)
        (output_dir / "checkpoint-6" / "optimizer.pt").write_bytes(b"cut off")

        def work(moment=moment, output_dir=output_dir):
            kill_at(moment, 0, output_dir)
            write(output_dir, 6, best=2, limit=2)

        ended = in_another_process(work)
        last = last_complete(output_dir)
        seen.add(last.name)
        assert last.name in ("checkpoint-4", "checkpoint-6")
        assert damage(output_dir / "checkpoint-2") is None
        # and the next process puts everything in order
        write(output_dir, 6, best=2, limit=2)
        assert (
            names(output_dir) == ["checkpoint-2", "checkpoint-6"] and last_complete(output_dir).name == "checkpoint-6"
        )
        if not ended:
            break
        assert ended == signal.SIGKILL
        moment += 1
    assert moment > 30 and seen == {"checkpoint-4", "checkpoint-6"}


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def flipped(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[:7] + bytes([data[7] ^ 1]) + data[8:])


DAMAGES = [
    *(pytest.param(name, Path.unlink, f"{name}: No such file", id=f"without {name}") for name in NAMES),
    *(pytest.param(name, cut_off, f"{name} has ", id=f"{name} cut off") for name in NAMES),
    *(pytest.param(name, flipped, f"{name} has other bytes", id=f"one bit of {name}") for name in NAMES),
    pytest.param(MANIFEST, Path.unlink, f"it has no {MANIFEST}", id="without manifest"),
    pytest.param(MANIFEST, cut_off, f"{MANIFEST} is damaged", id="manifest cut off"),
]


@pytest.mark.parametrize(("name", "spoil", "said"), DAMAGES)
def test_a_damaged_checkpoint_is_passed_over_by_name_and_reason(name, spoil, said, tmp_path, capsys):
    for step in (2, 10):
        write(tmp_path, step)
    if name == MANIFEST and spoil is cut_off:  # its last byte closes it
        cut_off(tmp_path / "checkpoint-10" / name)
    spoil(tmp_path / "checkpoint-10" / name)
    assert last_complete(tmp_path) == tmp_path / "checkpoint-2"
    printed = capsys.readouterr().out
    assert "checkpoint-10 is incomplete" in printed and said in printed and "skipped" in printed
    with pytest.raises(InputError, match="checkpoint-10: it is incomplete"):
        chosen_checkpoint(str(tmp_path / "checkpoint-10"), tmp_path)


def test_none_whole_is_one_error_that_names_each(tmp_path):
    for step in (2, 4):
        (write(tmp_path, step) / "optimizer.pt").unlink()
    with pytest.raises(InputError, match=r"no checkpoint .* is complete \(checkpoint-4 .*; checkpoint-2 ") as caught:
        chosen_checkpoint("auto", tmp_path)
    assert str(caught.value).count("optimizer.pt") == 2


def test_the_words_of_the_flag(tmp_path):
    assert chosen_checkpoint(None, tmp_path) is None
    assert chosen_checkpoint("auto", tmp_path) is None and chosen_checkpoint("auto", tmp_path / "none") is None
    with pytest.raises(InputError, match=r"no checkpoint-\* in"):
        chosen_checkpoint("last", tmp_path)
    for step in (2, 10):
        write(tmp_path, step)
    (tmp_path / "checkpoint-11.partial").mkdir()
    for flag in (True, "True", "true", "last", "auto", str(tmp_path)):
        assert chosen_checkpoint(flag, tmp_path) == tmp_path / "checkpoint-10", flag
    earlier = tmp_path / "checkpoint-2"
    assert chosen_checkpoint(str(earlier), tmp_path) == earlier
    with pytest.raises(InputError, match="no such folder"):
        chosen_checkpoint("lst", tmp_path)


def test_the_best_and_the_last_are_never_spare(tmp_path):
    write(tmp_path, 1, limit=1)
    write(tmp_path, 2, best=1, limit=1)
    assert names(tmp_path) == ["checkpoint-1", "checkpoint-2"]
    write(tmp_path, 3, best=1, limit=2)
    assert names(tmp_path) == ["checkpoint-1", "checkpoint-3"]
    write(tmp_path, 4, best=1, limit=3)
    assert names(tmp_path) == ["checkpoint-1", "checkpoint-3", "checkpoint-4"]
    write(tmp_path, 5, best=4, limit=3)
    assert names(tmp_path) == ["checkpoint-3", "checkpoint-4", "checkpoint-5"]
    write(tmp_path, 6, best=6, limit=None)
    assert len(names(tmp_path)) == 4


def test_what_a_run_does_not_come_from_is_in_the_way(tmp_path):
    for step in (2, 4, 6):
        write(tmp_path / "here", step)
    other = write(tmp_path / "there", 2)
    found = [path.name for path in in_the_way(tmp_path / "here", tmp_path / "here" / "checkpoint-2")]
    assert found == ["checkpoint-4", "checkpoint-6"]
    assert len(in_the_way(tmp_path / "here", other)) == 3
    assert in_the_way(tmp_path / "nowhere", other) == []
