import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sasa_cli.data.splits import apportion, load_splits, split_indices
from sasa_cli.errors import SpecError
from sasa_cli.spec import DataSpec

LABELS = st.lists(st.integers(0, 5), min_size=20, max_size=200).map(np.array)


@given(labels=LABELS, val_fraction=st.floats(0.05, 0.9))
def test_train_and_val_share_no_image_and_leave_none(labels: np.ndarray, val_fraction: float) -> None:
    train, val = split_indices(labels, val_fraction, None)
    assert len(val) == round(val_fraction * len(labels))
    assert np.array_equal(np.sort(np.concatenate([train, val])), np.arange(len(labels)))


@given(labels=LABELS, val_fraction=st.floats(0.05, 0.8), share=st.floats(0.1, 1))
def test_every_class_has_its_share_within_one_image(labels: np.ndarray, val_fraction: float, share: float) -> None:
    counts = np.bincount(labels)
    rest = len(labels) - round(val_fraction * len(labels))
    train, val = split_indices(labels, val_fraction, max(1, int(share * rest)))
    val_counts = np.bincount(labels[val], minlength=len(counts))
    assert (np.abs(val_counts - counts * len(val) / len(labels)) < 1).all()
    train_counts = np.bincount(labels[train], minlength=len(counts))
    assert (np.abs(train_counts - (counts - val_counts) * len(train) / rest) < 1).all()
    assert not set(train) & set(val)


@given(counts=st.lists(st.integers(0, 50), min_size=1, max_size=20).map(np.array), data=st.data())
def test_apportion_gives_all_and_no_class_more_than_it_has(counts: np.ndarray, data: st.DataObject) -> None:
    counts[0] += 1
    total = data.draw(st.integers(0, int(counts.sum())))
    shares = apportion(total, counts)
    assert shares.sum() == total
    assert (shares <= counts).all()


def test_the_split_is_the_same_in_every_run_and_version() -> None:
    train, val = split_indices(np.arange(40) % 4, 0.2, 8)
    assert val.tolist() == [0, 7, 9, 12, 19, 26, 29, 30]
    assert train.tolist() == [5, 8, 11, 14, 16, 21, 22, 39]


def test_fewer_train_images_are_some_of_the_more() -> None:
    labels = np.arange(600) % 10
    few, many = (set(split_indices(labels, 0.1, count)[0]) for count in (100, 300))
    assert few < many


@pytest.mark.parametrize(
    ("val_fraction", "train_images", "message"),
    [
        (0.01, None, "data.val_fraction: 0.01 of 20 images leaves 0 val and 20 train"),
        (0.99, None, "leaves 20 val and 0 train"),
        (0.1, 19, "data.train_images: 19 is too many; allowed are up to 18"),
    ],
)
def test_splits_without_images_are_spec_errors(val_fraction: float, train_images: int | None, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        split_indices(np.arange(20) % 2, val_fraction, train_images)


def test_fingerprint_tells_splits_apart() -> None:
    fingerprints = [
        load_splits(spec, None).fingerprint
        for spec in (DataSpec(), DataSpec(val_fraction=0.2), DataSpec(train_images=100))
    ]
    assert len({fingerprint.sha256 for fingerprint in fingerprints}) == 3
    assert fingerprints[2].train == 100
    assert fingerprints[2].val == fingerprints[0].val == 500
