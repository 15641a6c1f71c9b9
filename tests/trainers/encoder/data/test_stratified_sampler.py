"""Tests the stratified order: every row once, the same after resuming, and batches composed like the dataset."""

from __future__ import annotations

from itertools import chain, pairwise

import numpy as np
import pytest
import torch
from torch.utils.data import BatchSampler
from transformers import Trainer, TrainingArguments

from tests.cases import few
from tests.trainers.images.encoded_images import KINDS, READER, dataset
from trainers.base.callbacks import EpochCallback
from trainers.encoder.data.dataset import EncoderRows
from trainers.encoder.data.stratified_sampler import StratifiedSampler, train_sampler

BATCH = 64


def knee_lesions_slices(scale: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sources, texts and images as the public sets have them: 5 texts for all knees, 4 rows for a slice, lesions."""
    knees, lesions, slices = 1600 * scale, 2200 * scale, 640 * scale
    random = np.random.default_rng(0)
    texts = [random.integers(0, 5, knees), 10 + random.integers(0, 900 * scale, lesions)]
    texts += [10_000_000 + np.arange(slices)]
    images = [np.arange(knees), 10_000_000 + np.arange(lesions), 20_000_000 + np.arange(slices) // 4]
    sources = np.repeat([3, 1, 7], [knees, lesions, slices])
    shuffled = random.permutation(len(sources))
    return tuple(values[shuffled] for values in (sources, np.concatenate(texts), np.concatenate(images)))


ROWS = knee_lesions_slices()


def batches(order: np.ndarray, size: int = BATCH, start: int = 0) -> list[np.ndarray]:
    return [order[at : at + size] for at in range(start, len(order) - size + 1, size)]


def pairs_alike(order: np.ndarray, groups: np.ndarray) -> int:
    """Pairs of one batch that share a group, over all batches."""
    counts = [np.unique(groups[batch], return_counts=True)[1] for batch in batches(order)]
    return int(sum((count * (count - 1) // 2).sum() for count in counts))


def nearest_alike(order: np.ndarray, groups: np.ndarray) -> dict[int, int]:
    """The smallest distance between two rows of each group that has two."""
    seen: dict[int, list[int]] = {}
    for position, row in enumerate(order.tolist()):
        seen.setdefault(int(groups[row]), []).append(position)
    return {group: min(b - a for a, b in pairwise(places)) for group, places in seen.items() if len(places) > 1}


@pytest.fixture(scope="module")
def orders():
    """The stratified order, and random ones."""
    random = np.random.default_rng(1)
    return StratifiedSampler(*ROWS, seed=42).order(), [random.permutation(len(ROWS[0])) for _ in range(5)]


def test_every_row_once_in_every_epoch_and_another_order_in_each():
    sampler, seen = StratifiedSampler(*ROWS, seed=1), set()
    for epoch in range(4):
        sampler.set_epoch(epoch)
        order = list(sampler)
        assert sorted(order) == list(range(len(sampler))) == list(range(len(ROWS[0])))
        seen.add(tuple(order))
    assert len(seen) == 4
    assert tuple(StratifiedSampler(*ROWS, seed=2)) not in seen


def test_seed_and_epoch_decide_and_the_numbers_of_the_groups_do_not():
    first, second = StratifiedSampler(*ROWS, seed=5), StratifiedSampler(*(values * 3 + 1 for values in ROWS), seed=5)
    list(first)
    for sampler in (first, second):
        sampler.set_epoch(3)
    assert list(first) == list(first) == list(second)


@pytest.mark.parametrize("size", [8, 64, 256])
@pytest.mark.parametrize("start", [0, 5])
def test_every_stretch_has_the_shares_of_the_sources(orders, size, start):
    """Each source comes as often as its share says, give or take one, at the places of all batches of any size."""
    sources = ROWS[0]
    for batch in batches(orders[0], size, start):
        for source in np.unique(sources):
            assert abs((sources[batch] == source).sum() - size * (sources == source).mean()) <= 2
    worst = max(
        abs((sources[batch] == 1).sum() - size * (sources == 1).mean()) for batch in batches(orders[1][0], size, start)
    )
    assert worst > 2  # at random it is not so


def test_equal_texts_and_images_meet_less_often_than_at_random(orders):
    stratified, drawn = orders
    _, texts, images = ROWS
    assert pairs_alike(stratified, images) == 0 < min(pairs_alike(order, images) for order in drawn)
    rare = np.where(texts < 5, 10**9 + np.arange(len(texts)), texts)  # without the five texts of the knees
    assert pairs_alike(stratified, rare) <= 0.1 * min(pairs_alike(order, rare) for order in drawn)
    assert pairs_alike(stratified, texts) < 0.96 * min(pairs_alike(order, texts) for order in drawn)


def test_a_text_comes_again_after_half_of_its_even_distance_at_least(orders):
    for groups, allowed in ((ROWS[1], 0.02), (ROWS[2], 0.0)):
        nearest = nearest_alike(orders[0], groups)
        counts = dict(zip(*np.unique(groups, return_counts=True), strict=True))
        near = sum(gap < 0.4 * len(groups) / counts[group] for group, gap in nearest.items())
        assert near <= allowed * len(nearest)


def test_rows_that_share_nothing_come_in_a_random_order():
    count = 2000
    sampler = StratifiedSampler(np.zeros(count), np.arange(count), np.arange(count), seed=0)
    assert abs(np.corrcoef(np.arange(count), sampler.order())[0, 1]) < 0.1


@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_small_splits(count):
    same = np.zeros(count, int)
    assert sorted(StratifiedSampler(same, same, same, seed=0)) == list(range(count))


def test_lengths_that_differ_are_refused():
    with pytest.raises(ValueError, match="have 2, 3 and 2 rows"):
        StratifiedSampler([0, 0], [0, 0, 0], [0, 0], seed=0)


def test_four_times_the_rows_cost_four_times_as_much(lines_run):
    """Hundreds of thousands of rows are ordered at the start of each epoch."""
    costs = [lines_run(StratifiedSampler(*knee_lesions_slices(scale), seed=0).order) for scale in (1, 4)]
    assert 4 * len(ROWS[0]) < costs[1] < 5 * costs[0]


@pytest.mark.parametrize("processes", [2, 3])
def test_the_batches_of_several_processes_are_together_those_of_one(processes):
    """accelerate deals the batches of one global order out: what is spread over it is spread over the processes."""
    from accelerate.data_loader import BatchSamplerShard

    plain = list(BatchSampler(StratifiedSampler(*ROWS, seed=9), 8, drop_last=True))
    shards = [
        list(BatchSamplerShard(BatchSampler(StratifiedSampler(*ROWS, seed=9), 8, True), processes, rank))
        for rank in range(processes)
    ]
    together = [batch for step in zip(*shards, strict=True) for batch in step]
    assert together == plain[: len(together)]
    assert len(plain) - len(together) < processes


# --- in a Trainer ---


class Means(torch.nn.Module):
    """The smallest model that a Trainer fits: it writes down which rows it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen: list[list[int]] = []

    def forward(self, row: torch.Tensor, pixels: torch.Tensor, **_) -> dict[str, torch.Tensor]:
        self.seen.append(row.tolist())
        return {"loss": (self.weight - pixels.float().mean()) ** 2}


def collate(rows: list[dict]) -> dict[str, torch.Tensor]:
    return {
        "row": torch.tensor([int(row["text"].removeprefix("text ")) for row in rows]),
        "pixels": torch.tensor([row["pixels"].mean() for row in rows]),
    }


def fit(folder, ones, kind: str = "stratified", **settings) -> Means:
    class Ordered(Trainer):
        def _get_train_sampler(self, train_dataset=None):
            return sampler or super()._get_train_sampler(train_dataset)

    sampler = train_sampler(kind, ones, seed=6)
    arguments = TrainingArguments(
        str(folder), num_train_epochs=3, per_device_train_batch_size=4, report_to=[], use_cpu=True, save_steps=8,
        remove_unused_columns=False, disable_tqdm=True, seed=6,
    )  # fmt: skip
    listeners = [ones, *([sampler] if sampler else [])]
    model = Means()
    trainer = Ordered(model, arguments, collate, ones, callbacks=[EpochCallback(*listeners)])
    trainer.train(**settings)
    return model


@pytest.fixture(scope="module")
def ones(tmp_path_factory):
    from trainers.images.augmentation import Augmentation

    rows = dataset([*KINDS.values()] * 2, sources=["a"] * 7 + ["b"] * 19)
    return EncoderRows(rows, READER, tmp_path_factory.mktemp("cache"), augmentation=Augmentation(1))


def test_each_epoch_of_a_training_has_the_order_of_its_number(tmp_path, ones):
    model = fit(tmp_path, ones)
    sampler = train_sampler("stratified", ones, seed=6)
    for epoch in range(3):
        sampler.set_epoch(epoch)
        assert list(chain(*model.seen[epoch * 7 : epoch * 7 + 7])) == list(sampler)


@pytest.mark.parametrize(
    ("kind", "updates"), few([("stratified", 8), ("stratified", 16), ("random", 8), ("random", 16)])
)
def test_a_resumed_training_goes_on_with_the_rows_and_pixels_it_would_have_had(tmp_path, ones, kind, updates):
    """Checkpoints in the middle of the second and of the third epoch."""
    whole = fit(tmp_path, ones, kind)
    resumed = fit(tmp_path, ones, kind, resume_from_checkpoint=str(tmp_path / f"checkpoint-{updates}"))
    assert resumed.seen == whole.seen[updates:]
    assert torch.equal(resumed.weight, whole.weight)


def test_random_is_left_to_the_trainer(ones):
    assert train_sampler("random", ones, 0) is None
