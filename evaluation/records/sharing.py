"""Shares the batches of an evaluation among the processes that `torchrun` or `accelerate launch` started.

Process r of W takes the batches r, r + W, r + 2 W, ... of those that a single process would make. Each batch is the
same as there, so all answers are the same, and rows of one image that stand together in a batch share its pass through
the vision tower as before. All processes receive all answers; only the first one writes results.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

from evaluation.loading import InputError

T = TypeVar("T")
LONGEST_WAIT = timedelta(days=7)  # a process waits for the slowest one


@contextmanager
def processes() -> Iterator[None]:
    """Joins the processes that share the evaluation, if there are several; only the first one prints results.

    A failure of one of them ends its program; `torchrun` and `accelerate launch` then end the others.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) < 2:
        yield
        return
    import torch
    import torch.distributed as dist

    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    # Answers are texts, so gloo serves for GPUs as well.
    dist.init_process_group("gloo", timeout=LONGEST_WAIT)
    try:
        if rank() == 0:
            yield
        else:
            with Path(os.devnull).open("w", encoding="utf-8") as nowhere, redirect_stdout(nowhere):
                yield
    finally:
        dist.destroy_process_group()


def world_size() -> int:
    """Returns the number of processes that share the evaluation."""
    import torch.distributed as dist

    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Returns the number of this process, from 0."""
    import torch.distributed as dist

    return dist.get_rank() if world_size() > 1 else 0


def batches(rows: int, batch_size: int) -> list[range]:
    """Returns the numbers of the rows of each batch."""
    return [range(start, min(start + batch_size, rows)) for start in range(0, rows, batch_size)]


def share(items: Sequence[T], work: Callable[[T], Any], progress: Callable = iter) -> list[Any]:
    """Returns `[work(item) for item in items]`, to all processes, of which each does its part.

    Args:
        items: the same in every process.
        work: what is done with an item; what it returns is sent to the other processes.
        progress: a function that wraps the loop of the first process, for example `tqdm`.

    Raises:
        InputError: another process has ended.
    """
    own, world = rank(), world_size()
    mine = items[own::world]
    done = [work(item) for item in (progress(mine) if own == 0 else mine)]
    if world == 1:
        return done
    found: list[Any] = [None] * len(items)
    for number, part in enumerate(gathered(done)):
        found[number::world] = part
    return found


def gathered(value: Any) -> list[Any]:
    """Returns the values of all processes. Raises InputError if one of them has ended."""
    import torch.distributed as dist

    parts: list[Any] = [None] * world_size()
    try:
        dist.all_gather_object(parts, value)
    except RuntimeError as error:  # gloo: the connection is closed
        raise InputError(f"another process of this evaluation has ended; see its message ({error!s:.80})") from None
    return parts


def first_does(action: Callable[[], None]) -> None:
    """Runs an action in the first process only, while the others wait. If it fails, all of them end."""
    if rank() == 0:
        action()
    if world_size() > 1:
        gathered(None)
