"""Tests the decoder's order of rows: rows of one image together, little padding, and otherwise random."""

from __future__ import annotations

import numpy as np
import pytest

from trainers.decoder.data.image_group_sampler import ImageGroupSampler


def slake_like(images: int = 200, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Groups and lengths of rows as SLAKE has them: 6 to 41 questions an image, in the order of the images."""
    random = np.random.default_rng(seed)
    groups = np.repeat(np.arange(images), random.integers(6, 42, images))
    return groups, random.integers(20, 60, len(groups))


def sampler(groups, lengths, batch_size=8, rows_per_image=None, seed=3, by_length=False) -> ImageGroupSampler:
    return ImageGroupSampler(groups, lengths, batch_size, rows_per_image, seed, by_length)


def batches(order: np.ndarray, size: int) -> list[np.ndarray]:
    return [order[start : start + size] for start in range(0, len(order), size)]


def tower_runs(order: np.ndarray, groups: np.ndarray, size: int) -> int:
    return sum(len(set(groups[batch].tolist())) for batch in batches(order, size))


def padding(order: np.ndarray, lengths: np.ndarray, size: int) -> float:
    shape = sum(lengths[batch].max() * len(batch) for batch in batches(order, size))
    return 1 - lengths.sum() / shape


@pytest.mark.parametrize("by_length", [False, True])
@pytest.mark.parametrize("rows_per_image", [None, 1, 3, 100])
@pytest.mark.parametrize("batch_size", [1, 2, 8, 16])
def test_every_row_comes_once(batch_size, rows_per_image, by_length):
    groups, lengths = slake_like(40)
    order = sampler(groups, lengths, batch_size, rows_per_image, by_length=by_length).order()
    assert sorted(order.tolist()) == list(range(len(groups)))


@pytest.mark.parametrize("rows", [0, 1, 5, 8, 9])
def test_few_rows(rows):
    for groups in (np.zeros(rows), np.arange(rows), np.arange(rows) // 2):
        for by_length in (False, True):
            order = sampler(groups, np.full(rows, 7), by_length=by_length)
            assert len(order) == rows and sorted(order) == list(range(rows))


@pytest.mark.parametrize("by_length", [False, True])
@pytest.mark.parametrize("batch_size", [4, 8, 16])
def test_the_tower_runs_hardly_more_often_than_it_must(batch_size, by_length):
    """An image with k rows must be in at least k / batch_size batches."""
    groups, lengths = slake_like()
    order = sampler(groups, lengths, batch_size, by_length=by_length).order()
    least = int(np.ceil(np.bincount(groups) / batch_size).sum())
    runs = tower_runs(order, groups, batch_size)
    assert least <= runs <= 1.05 * least
    assert runs < 0.4 * tower_runs(np.random.default_rng(0).permutation(len(groups)), groups, batch_size)


def test_images_that_cannot_fill_a_batch_are_split_as_seldom_as_can_be():
    """Images of five rows in batches of eight: in 40 rows, five batches, four of their ends fall into an image."""
    groups = np.repeat(np.arange(80), 5)
    runs = tower_runs(sampler(groups, np.full(400, 9)).order(), groups, 8)
    assert runs <= 80 + 50 - 1


def test_no_more_rows_of_an_image_are_kept_together_than_asked_for():
    """With 2000 images of 6 rows, two chunks of one image meet in a batch only by chance."""
    groups = np.repeat(np.arange(2000), 6)
    order = sampler(groups, np.full(12000, 9), batch_size=8, rows_per_image=3).order()
    most = [np.bincount(groups[batch]).max() for batch in batches(order, 8)]
    assert np.mean(np.array(most) == 3) > 0.98
    assert tower_runs(order, groups, 8) <= 4000 + 1500


@pytest.mark.parametrize("by_length", [False, True])
def test_an_image_may_come_anywhere(by_length):
    """Mean place of each image over many epochs: 0.5, with the spread of independent draws; all parts are reached."""
    groups, lengths = slake_like(30)
    order = sampler(groups, lengths, by_length=by_length)
    epochs, first = 400, np.empty((400, 30))
    for epoch in range(epochs):
        order.set_epoch(epoch)
        places = np.empty(len(groups))
        places[order.order()] = np.arange(len(groups)) / len(groups)
        first[epoch] = [np.random.default_rng((epoch, image)).choice(places[groups == image]) for image in range(30)]
    error = np.sqrt(1 / 12 / epochs)
    assert np.abs(first.mean(axis=0) - 0.5).max() < 4.5 * error
    tenths = np.stack([np.bincount((first[:, image] * 10).astype(int), minlength=10) for image in range(30)])
    assert tenths.min() > 0.35 * epochs / 10


def test_rows_of_an_image_meet_other_rows_in_the_next_epoch():
    groups, lengths = slake_like(30)
    for by_length in (False, True):
        order = sampler(groups, lengths, batch_size=4, by_length=by_length)
        met = []
        for epoch in range(2):
            order.set_epoch(epoch)
            met.append({tuple(sorted(batch.tolist())) for batch in batches(order.order(), 4)})
        assert len(met[0] & met[1]) < 0.05 * len(met[0])


def test_the_order_depends_on_seed_and_epoch_alone():
    groups, lengths = slake_like(30)
    one, other = sampler(groups, lengths, by_length=True), sampler(groups, lengths, by_length=True)
    other.set_epoch(5)
    list(other)
    other.set_epoch(0)
    assert list(one) == list(other)
    other.set_epoch(1)
    assert list(one) != list(other) != list(sampler(groups, lengths, seed=4, by_length=True))
    # the names of the groups are not part of it
    assert list(one) == list(sampler(groups * 17 - 3, lengths, by_length=True))


def test_rows_drawn_one_by_one_are_a_plain_permutation():
    groups, lengths = slake_like(30)
    plain = sampler(groups, lengths, rows_per_image=1)
    random = np.random.Generator(np.random.Philox(np.random.SeedSequence([3, 0])))
    assert plain.order().tolist() == random.permutation(len(groups)).tolist()


def test_rows_drawn_one_by_one_are_sorted_by_length_as_transformers_sorts_them():
    """Padding of about the size that transformers' own sampler leaves, on the same lengths."""
    import torch
    from transformers.trainer_pt_utils import LengthGroupedSampler

    random = np.random.default_rng(0)
    lengths = random.lognormal(4.5, 0.7, 4000).astype(int) + 20
    generator = torch.Generator().manual_seed(0)
    stock = np.array(list(LengthGroupedSampler(8, lengths=lengths.tolist(), generator=generator)))
    ours = sampler(np.arange(4000), lengths, by_length=True).order()
    assert padding(random.permutation(4000), lengths, 8) > 0.45
    assert padding(ours, lengths, 8) < padding(stock, lengths, 8) + 0.01 < 0.1


@pytest.mark.parametrize("rows_per_image", [None, 4])
def test_padding_is_less_with_images_kept_together(rows_per_image):
    groups, _ = slake_like()
    lengths = np.random.default_rng(1).lognormal(4.5, 0.7, len(groups)).astype(int) + 20
    plain, grouped = (
        sampler(groups, lengths, batch_size=8, rows_per_image=rows_per_image, by_length=by_length)
        for by_length in (False, True)
    )
    assert padding(grouped.order(), lengths, 8) < 0.75 * padding(plain.order(), lengths, 8)
    assert tower_runs(grouped.order(), groups, 8) <= 1.01 * tower_runs(plain.order(), groups, 8)


def test_batches_of_long_rows_come_anywhere():
    lengths = np.random.default_rng(1).integers(20, 500, 4000)
    order = sampler(np.arange(4000), lengths, by_length=True).order()
    means = np.array([lengths[batch].mean() for batch in batches(order, 8)])
    assert abs(np.corrcoef(means, np.arange(len(means)))[0, 1]) < 0.15


@pytest.mark.parametrize("kind", ["slake", "single"])
def test_four_times_the_rows_cost_four_times_as_much(kind, lines_run):
    """A million rows are ordered at the start of each epoch."""
    costs = []
    for rows in (5_000, 20_000):
        groups = np.arange(rows) // (20 if kind == "slake" else 1)
        order = sampler(groups, np.random.default_rng(0).integers(20, 500, rows), by_length=True)
        costs.append(lines_run(order.order))
    assert rows < costs[1] < 5 * costs[0]


def test_batches_are_mixtures_of_images_with_many_rows_and_with_one():
    """60 images of 17 rows beside 340 that have one row: a quarter of the rows, and of nearly every batch."""
    groups = np.concatenate([np.repeat(np.arange(60), 17), 100 + np.arange(340)])
    order = sampler(groups, np.full(len(groups), 9), batch_size=16, rows_per_image=4).order()
    alone = np.array([np.mean(groups[batch] >= 100) for batch in batches(order, 16)])
    assert alone.std() < 0.2  # apart, as the largest first would leave them, it is 0.43
    assert tower_runs(order, groups, 16) <= 60 * 5 + 340 + 30


@pytest.mark.parametrize(("size", "rows"), [(0, None), (4, 0)])
def test_a_size_below_one_is_refused(size, rows):
    with pytest.raises(ValueError, match="at least 1"):
        ImageGroupSampler(np.zeros(3), np.ones(3), size, rows, 0, False)


def test_lengths_of_other_rows_are_refused():
    with pytest.raises(ValueError, match="3 and 2 rows"):
        ImageGroupSampler(np.zeros(3), np.ones(2), 1, None, 0, False)


def test_the_order_is_that_of_the_flags_and_of_data_seed_even_where_that_is_0(tmp_path):
    from types import SimpleNamespace

    from trainers.decoder.arguments import DecoderArguments, DecoderTrainingArguments
    from trainers.decoder.data.image_group_sampler import train_sampler

    groups, lengths = slake_like(20)
    rows = SimpleNamespace(image_groups=lambda: groups, chats=SimpleNamespace(lengths=lengths))
    for given, seed in (({}, 3), ({"data_seed": 0}, 0), ({"data_seed": 7}, 7)):
        training = DecoderTrainingArguments(str(tmp_path), use_cpu=True, seed=3, per_device_train_batch_size=8, **given)
        for per_image, by_length in ((None, False), (2, False), (None, True)):
            flags = DecoderArguments(rows_per_image=per_image, group_by_length=by_length)
            expected = sampler(groups, lengths, rows_per_image=per_image, seed=seed, by_length=by_length)
            assert list(train_sampler(rows, flags, training)) == list(expected)
