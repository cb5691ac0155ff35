"""Every task keeps the contract of rnnviz.tasks.task; its numbers are those of its source."""

import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnviz.tasks import TASKS, Batch, Solved, Task
from rnnviz.tasks import digits as digits_module
from rnnviz.tasks.task import NO_ANSWER, VALIDATION_SIZE, GeneratedTask

ALL = pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
GENERATED = [name for name, task in TASKS.items() if isinstance(task, GeneratedTask)]
DATA_SETS = ["digits", "digits_rows"]
MANY = 20_000


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def short(task: Task) -> int:
    return max(task.min_length, min(task.max_length, 30))


def same(one: Batch, other: Batch) -> bool:
    pairs = ((one.inputs, other.inputs), (one.targets, other.targets), (one.marks, other.marks))
    return all(a.tobytes() == b.tobytes() and a.shape == b.shape for a, b in pairs)


def perfect(task: Task, batch: Batch) -> np.ndarray:
    """Outputs of a network that is always right."""
    if task.loss == "mse":
        return batch.targets.astype(np.float64)
    return 5.0 * np.eye(task.output_size)[batch.targets]


def one_output(task: Task, outputs: np.ndarray, i: int) -> np.ndarray:
    return outputs[:, i] if task.readout == "every" else outputs[i]


def check_contract(task: Task, batch: Batch, length: int, size: int) -> None:
    steps = task.steps(length)
    assert batch.inputs.shape == (steps, size, task.input_size)
    assert batch.inputs.dtype == np.float64
    assert np.isfinite(batch.inputs).all()
    leading = (steps, size) if task.readout == "every" else (size,)
    if task.loss == "mse":
        assert batch.targets.shape == (*leading, task.output_size)
        assert batch.targets.dtype == np.float64
    else:
        assert batch.targets.shape == leading
        assert batch.targets.dtype == np.int64
        assert batch.targets.min() >= 0
        assert batch.targets.max() < task.output_size
    assert batch.marks.ndim == 2
    assert batch.marks.shape[0] == size
    assert batch.marks.dtype == np.int64
    assert ((batch.marks >= 0) & (batch.marks < steps)).all()


# The contract, for every task


@ALL
def test_describes_itself(task: Task) -> None:
    assert TASKS[task.name] is task
    for words in (task.label, task.question, task.explanation, task.source, task.baseline_label):
        assert words.strip() == words != ""
    assert "\n" not in task.question
    assert task.solved.sentence.endswith(".")
    assert (task.accuracy_label is None) == (task.accuracy(*_right(task)) is None)
    assert len(task.channels()) == len(set(task.channels())) == task.input_size
    assert task.min_length <= task.default_length <= task.max_length
    if task.fixed_length is not None:
        assert task.min_length == task.max_length == task.fixed_length


def _right(task: Task) -> tuple[np.ndarray, Batch]:
    batch = task.sample(rng(), task.default_length, 20)
    return perfect(task, batch), batch


def test_order_of_the_list() -> None:
    assert list(TASKS) == ["digits", "digits_rows", "adding", "temporal_order", "copying"]


@pytest.mark.parametrize("name", TASKS)
@settings(max_examples=25, deadline=None, derandomize=True)
@given(data=st.data())
def test_batches_keep_the_contract(name: str, data: st.DataObject) -> None:
    task = TASKS[name]
    bounds = st.sampled_from([task.min_length, min(task.min_length + 1, task.max_length)])
    length = data.draw(bounds | st.integers(task.min_length, min(task.max_length, task.min_length + 60)))
    size = data.draw(st.just(1) | st.integers(1, 40))
    seed = data.draw(st.integers(0, 2**32 - 1))
    step = data.draw(st.integers(0, 10**6))
    check_contract(task, task.sample(rng(seed), length, size), length, size)
    check_contract(task, task.training_batch(seed, step, length, size), length, size)


@ALL
@pytest.mark.parametrize("bound", ["min_length", "max_length"])
def test_lengths_at_the_bounds(task: Task, bound: str) -> None:
    length = getattr(task, bound)
    check_contract(task, task.sample(rng(), length, 2), length, 2)
    check_contract(task, task.training_batch(0, 0, length, 1), length, 1)


@ALL
def test_refuses_what_it_cannot_draw(task: Task) -> None:
    for length in (task.min_length - 1, task.max_length + 1):
        with pytest.raises(ValueError, match=f"{task.name}.*length.*got {length}"):
            task.sample(rng(), length, 2)
        with pytest.raises(ValueError, match=f"got {length}"):
            task.training_batch(0, 0, length, 2)
        with pytest.raises(ValueError, match=f"got {length}"):
            task.validation_batch(length)
    with pytest.raises(ValueError, match="at least 1 sequence; got 0"):
        task.sample(rng(), task.default_length, 0)
    with pytest.raises(ValueError, match="at least 1 sequence; got 0"):
        task.training_batch(0, 0, task.default_length, 0)


@ALL
def test_training_batch_is_a_pure_function_of_its_arguments(task: Task) -> None:
    length = short(task)
    forward = [task.training_batch(5, step, length, 16) for step in range(6)]
    task.sample(rng(), length, 7)
    backward = [task.training_batch(5, step, length, 16) for step in reversed(range(6))]
    for one, other in zip(forward, reversed(backward), strict=True):
        assert same(one, other)


@ALL
def test_training_batches_differ_by_seed_and_step(task: Task) -> None:
    length = short(task)
    batches = [task.training_batch(seed, step, length, 16) for seed in (0, 1) for step in (0, 1, 2)]
    for i, one in enumerate(batches):
        for other in batches[:i]:
            assert one.inputs.tobytes() != other.inputs.tobytes()


@ALL
def test_sample_depends_on_the_generator_alone(task: Task) -> None:
    length = short(task)
    assert same(task.sample(rng(3), length, 8), task.sample(rng(3), length, 8))
    assert not same(task.sample(rng(3), length, 8), task.sample(rng(4), length, 8))


@ALL
def test_validation_is_fixed_cached_and_locked(task: Task) -> None:
    length = short(task)
    batch = task.validation_batch(length)
    size = batch.inputs.shape[1]
    assert size == (1000 if task.name in GENERATED else 450)
    check_contract(task, batch, length, size)
    before = batch.inputs.tobytes()
    task.training_batch(0, 0, length, 4)
    assert task.validation_batch(length) is batch
    assert task.validation_batch(length).inputs.tobytes() == before
    for array in (batch.inputs, batch.targets, batch.marks):
        assert not array.flags.writeable


@pytest.mark.parametrize("name", GENERATED)
def test_validation_comes_from_a_stream_of_its_own(name: str) -> None:
    task = TASKS[name]
    held_out = {row.tobytes() for row in task.validation_batch(30).inputs.transpose(1, 0, 2)}
    assert len(held_out) == VALIDATION_SIZE
    for seed in range(4):
        for step in range(4):
            # The size matters: the same stream gives the same sequences only in batches of the same size.
            fresh = task.training_batch(seed, step, 30, VALIDATION_SIZE).inputs.transpose(1, 0, 2)
            assert held_out.isdisjoint(row.tobytes() for row in fresh)


@ALL
def test_accuracy_of_right_and_wrong_outputs(task: Task) -> None:
    outputs, batch = _right(task)
    if task.accuracy_label is None:
        return
    assert task.accuracy(outputs, batch) == 1.0
    assert task.accuracy(outputs.astype(np.float32), batch) == 1.0
    wrong = outputs + 1.0 if task.loss == "mse" else np.roll(outputs, 1, axis=-1)
    assert task.accuracy(wrong, batch) == 0.0
    half = outputs.copy()
    spoilt = (slice(None), slice(0, 5)) if task.readout == "every" else (slice(0, 5),)
    half[spoilt] = wrong[spoilt]
    assert task.accuracy(half, batch) == pytest.approx(0.75)


@ALL
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_an_output_that_is_no_number_is_no_answer(task: Task, bad: float) -> None:
    outputs, batch = _right(task)
    outputs = np.full_like(outputs, bad)
    assert task.accuracy(outputs, batch) in (0.0, None)
    said = task.predicted(one_output(task, outputs, 0))
    assert said == NO_ANSWER or set(said.split()) == {"?"}


@ALL
def test_one_nan_among_the_outputs_is_no_answer_either(task: Task) -> None:
    outputs, batch = _right(task)
    outputs[..., -1] = np.nan
    assert task.accuracy(outputs, batch) in (0.0, None)


@ALL
def test_a_right_prediction_reads_like_the_answer(task: Task) -> None:
    outputs, batch = _right(task)
    for i in range(20):
        answer, said = task.answer(batch, i), task.predicted(one_output(task, outputs, i))
        assert answer.split("≈ ")[-1] == said


@ALL
@pytest.mark.parametrize("length", ["min_length", "default_length", "max_length"])
def test_baseline_is_the_best_constant_predictor(task: Task, length: str) -> None:
    """The loss of the best constant at each time step, fitted to many sequences, is the stated baseline."""
    T = getattr(task, length)
    size = MANY if length != "max_length" else 1000
    batch = task.sample(rng(1), T, size)
    if task.loss == "mse":
        error = (batch.targets - batch.targets.mean(axis=0)) ** 2
        assert abs(error.mean() - task.baseline(T)) < 4 * error.std() / math.sqrt(error.size)
        return
    # 2 N (true entropy - entropy of the counted shares) is chi-squared, one degree for each free share.
    targets = batch.targets.reshape(-1, size)  # one row per time step with a readout
    excess, freedom = 2 * size * len(targets) * task.baseline(T), 0
    for row in targets:
        counts = np.bincount(row)
        counts = counts[counts > 0]
        excess += 2 * float((counts * np.log(counts / size)).sum())
        freedom += len(counts) - 1
    assert freedom > 0
    assert abs(excess - freedom) < 4 * math.sqrt(2 * freedom)


@ALL
@pytest.mark.parametrize("length", [1, 7, 100])
def test_validation_targets_agree_with_the_baseline(task: Task, length: int) -> None:
    """What a run's baseline line promises holds on the very set that the run is measured on."""
    length = min(max(length, task.min_length), task.max_length)
    batch = task.validation_batch(length)
    if task.loss == "mse":
        error = (batch.targets - batch.targets.mean()) ** 2
        assert abs(error.mean() - task.baseline(length)) < 4 * error.std() / math.sqrt(error.size)
        return
    rows = batch.targets.reshape(-1, batch.inputs.shape[1])
    entropy = 0.0
    for row in rows:
        shares = np.bincount(row) / len(row)
        entropy -= float((shares[shares > 0] * np.log(shares[shares > 0])).sum()) / len(rows)
    assert entropy == pytest.approx(task.baseline(length), rel=0.01)


# The criterion


def test_solved_by_loss_is_strict() -> None:
    solved = Solved("loss", 0.01, "Below 0.01.")
    assert solved.met(0.0099, None)
    assert not solved.met(0.01, 1.0)
    assert not solved.met(math.nan, 1.0)


def test_solved_by_accuracy_includes_the_threshold() -> None:
    solved = Solved("accuracy", 0.95, "At least 95 %.")
    assert solved.met(math.nan, 0.95)
    assert not solved.met(0.0, 0.9499)
    assert not solved.met(0.0, None)
    assert not solved.met(0.0, math.nan)


@pytest.mark.parametrize(
    ("name", "loss", "accuracy", "met"),
    [
        ("digits", 9.0, 0.95, True),
        ("digits", 0.0, 0.94, False),
        ("digits_rows", 9.0, 0.95, True),
        ("digits_rows", 0.0, 0.94, False),
        ("adding", 0.0099, 0.0, True),
        ("adding", 0.01, 1.0, False),
        ("temporal_order", 9.0, 991 / 1000, True),
        ("temporal_order", 9.0, float(np.float32(991 / 1000)), True),
        ("temporal_order", 0.0, 990 / 1000, False),
        ("copying", 9.0, 0.99, True),
        ("copying", 0.0, 0.9899, False),
    ],
)
def test_stated_criteria(name: str, loss: float, accuracy: float, met: bool) -> None:
    assert TASKS[name].solved.met(loss, accuracy) is met


@pytest.mark.parametrize(
    ("name", "length", "baseline"),
    [
        ("adding", 50, 0.1666667),
        ("temporal_order", 50, 1.3862944),
        ("digits", 64, 2.3025851),
        ("digits_rows", 8, 2.3025851),
        ("copying", 100, 0.173287),
        ("copying", 200, 0.094520),
        ("copying", 500, 0.039989),
    ],
)
def test_published_baselines(name: str, length: int, baseline: float) -> None:
    assert TASKS[name].baseline(length) == pytest.approx(baseline, abs=5e-7)


# Adding


@pytest.mark.parametrize("length", [2, 3, 10, 51])
def test_adding_marks_one_step_of_each_half(length: int) -> None:
    batch = TASKS["adding"].sample(rng(), length, 5000)
    first, second = batch.marks.T
    half = length // 2
    assert set(first) == set(range(half))
    assert set(second) == set(range(half, length))
    expected = np.zeros((length, 5000))
    expected[first, range(5000)] = expected[second, range(5000)] = 1
    np.testing.assert_array_equal(batch.inputs[:, :, 1], expected)


def test_adding_answers_the_sum_of_the_marked_values() -> None:
    batch = TASKS["adding"].sample(rng(), 40, 500)
    values, markers = batch.inputs[:, :, 0], batch.inputs[:, :, 1]
    np.testing.assert_allclose(batch.targets[:, 0], (values * markers).sum(axis=0), rtol=1e-15)


def test_adding_values_are_uniform() -> None:
    values = TASKS["adding"].sample(rng(), 100, 1000).inputs[:, :, 0]
    assert 0 <= values.min() < 1e-3
    assert 1 - 1e-3 < values.max() < 1
    assert abs(values.mean() - 1 / 2) < 4 * math.sqrt(1 / 12 / values.size)
    squares = (values - 1 / 2) ** 2
    assert abs(squares.mean() - 1 / 12) < 4 * squares.std() / math.sqrt(values.size)


def test_adding_counts_sums_within_the_tolerance() -> None:
    task = TASKS["adding"]
    batch = task.sample(rng(), 10, 4)
    assert task.accuracy(batch.targets + np.array([[0.0399], [-0.0399], [0.0401], [-0.0401]]), batch) == 0.5


def test_adding_words() -> None:
    task = TASKS["adding"]
    inputs = np.array([[[0.5, 0.0]], [[0.625, 1.0]], [[0.25, 1.0]]])
    batch = Batch(inputs, np.array([[0.875]]), np.array([[1, 2]]))
    assert task.answer(batch, 0) == "0.625 + 0.250 ≈ 0.875"
    assert task.predicted(np.array([-0.12345])) == "-0.123"


# Temporal order


@pytest.mark.parametrize("length", [10, 11, 19, 20, 25, 50, 99, 100, 200, 500])
def test_temporal_order_positions_are_those_of_the_authors(length: int) -> None:
    first, second = TASKS["temporal_order"].sample(rng(), length, 4000).marks.T
    width = int(length * 0.1)
    assert width >= 1
    assert set(first) == set(range(int(length * 0.1), int(length * 0.1) + width))
    assert set(second) == set(range(int(length * 0.5), int(length * 0.5) + width))


def test_temporal_order_tenths_agree_with_the_authors_rounding_at_every_length() -> None:
    task = TASKS["temporal_order"]
    for length in range(task.min_length, task.max_length + 1):
        first, second = task.sample(rng(), length, 1).marks[0]
        tenth, half = int(length * 0.1), int(length * 0.5)
        assert tenth <= first < 2 * tenth
        assert half <= second < half + tenth


def test_temporal_order_symbols_and_classes() -> None:
    task = TASKS["temporal_order"]
    batch = task.sample(rng(), 40, 2000)
    np.testing.assert_array_equal(batch.inputs.sum(axis=2), 1)
    symbols = batch.inputs.argmax(axis=2)
    rows = np.arange(2000)
    early, late = symbols[batch.marks[:, 0], rows], symbols[batch.marks[:, 1], rows]
    np.testing.assert_array_equal(batch.targets, early + 2 * late)
    assert set(batch.targets) == {0, 1, 2, 3}
    assert ((symbols < 2).sum(axis=0) == 2).all()
    assert set(symbols.ravel()) == set(range(6))
    for i in range(20):
        said = f"{task.channels()[early[i]]} then {task.channels()[late[i]]}"
        assert task.answer(batch, i) == said
        assert task.predicted(np.eye(4)[batch.targets[i]]) == said


def test_temporal_order_fillers_are_equally_likely() -> None:
    counts = TASKS["temporal_order"].sample(rng(), 100, 1000).inputs.sum(axis=(0, 1))[2:]
    expected = 98 * 1000 / 4
    assert np.abs(counts - expected).max() < 4 * math.sqrt(98 * 1000 * (1 / 4) * (3 / 4))


# Copying


@pytest.mark.parametrize("length", [1, 2, 35])
def test_copying_layout(length: int) -> None:
    task = TASKS["copying"]
    batch = task.sample(rng(), length, 300)
    assert task.steps(length) == length + 20
    np.testing.assert_array_equal(batch.inputs.sum(axis=2), 1)
    symbols = batch.inputs.argmax(axis=2)
    assert set(symbols[:10].ravel()) == set(range(1, 9))
    assert (symbols[10 : length + 9] == 0).all()
    assert (symbols[length + 9] == 9).all()
    assert (symbols[length + 10 :] == 0).all()
    assert len(symbols[length + 10 :]) == 10
    assert (batch.targets[: length + 10] == 0).all()
    np.testing.assert_array_equal(batch.targets[length + 10 :], symbols[:10])
    np.testing.assert_array_equal(batch.marks, np.tile(np.arange(10), (300, 1)))


def test_copying_accuracy_ignores_the_blanks() -> None:
    task = TASKS["copying"]
    batch = task.sample(rng(), 5, 30)
    blanks = np.zeros((25, 30, 9))
    blanks[..., 0] = 1.0
    assert task.accuracy(blanks, batch) == 0.0
    outputs = perfect(task, batch)
    outputs[:15] = np.roll(outputs[:15], 1, axis=-1)
    assert task.accuracy(outputs, batch) == 1.0


def test_copying_words() -> None:
    task = TASKS["copying"]
    items = [1, 2, 3, 4, 5, 6, 7, 8, 8, 1]
    targets = np.array([0] * 11 + items)[:, None]
    batch = Batch(np.zeros((21, 1, 10)), targets, np.arange(10)[None])
    assert task.answer(batch, 0) == "1 2 3 4 5 6 7 8 8 1"
    output = np.eye(9)[targets[:, 0]]
    output[11] = np.eye(9)[0]
    output[12, 3] = np.nan
    assert task.predicted(output) == "· ? 3 4 5 6 7 8 8 1"


# Digits


def test_digits_split_is_disjoint_complete_and_stratified() -> None:
    training, held_out = digits_module.split()
    assert (len(training), len(held_out)) == (1347, 450)
    np.testing.assert_array_equal(np.sort(np.concatenate([training, held_out])), np.arange(1797))
    _, labels = digits_module.load()
    shares = np.bincount(labels[held_out]) / np.bincount(labels)
    assert np.abs(shares - 450 / 1797).max() * np.bincount(labels).max() < 1


def test_digits_are_the_images_of_scikit_learn() -> None:
    from sklearn.datasets import load_digits

    pixels, labels = digits_module.load()
    reference = load_digits()
    np.testing.assert_array_equal(pixels * 16, reference.data)
    np.testing.assert_array_equal(labels, reference.target)
    assert pixels.min() == 0
    assert pixels.max() == 1


def test_digits_are_read_row_by_row_from_the_top_left() -> None:
    pixels, labels = digits_module.load()
    images = pixels.reshape(-1, 8, 8)
    _, held_out = digits_module.split()
    by_pixel, by_row = TASKS["digits"].validation_batch(64), TASKS["digits_rows"].validation_batch(8)
    for i, index in enumerate(held_out[:20]):
        np.testing.assert_array_equal(by_row.inputs[:, i, :], images[index])
        np.testing.assert_array_equal(by_pixel.inputs[:, i, 0], images[index].ravel())
        assert by_row.targets[i] == by_pixel.targets[i] == labels[index]
        assert TASKS["digits"].answer(by_pixel, i) == str(labels[index])


def _names(batch: Batch) -> list[bytes]:
    """Each sequence as bytes: the images are all different, so this names them."""
    return [row.tobytes() for row in np.ascontiguousarray(batch.inputs.transpose(1, 0, 2))]


def test_images_are_all_different() -> None:
    assert len({row.tobytes() for row in digits_module.load()[0]}) == 1797


@pytest.mark.parametrize("name", DATA_SETS)
@pytest.mark.parametrize("size", [1347, 449, 3, 2000])
def test_an_epoch_visits_every_training_digit_once(name: str, size: int) -> None:
    task = TASKS[name]
    training, _ = digits_module.split()
    expected = {image.tobytes() for image in digits_module.load()[0][training]}
    seen: list[bytes] = []
    for step in range(-(-2 * 1347 // size)):
        seen += _names(task.training_batch(7, step, task.default_length, size))
    one, two = seen[:1347], seen[1347 : 2 * 1347]
    assert set(one) == set(two) == expected
    assert one != two


@pytest.mark.parametrize("name", DATA_SETS)
def test_no_validation_digit_is_ever_trained_on(name: str) -> None:
    task = TASKS[name]
    held_out = set(_names(task.validation_batch(task.default_length)))
    assert len(held_out) == 450
    assert held_out.isdisjoint(_names(task.sample(rng(), task.default_length, 5000)))
    assert held_out.isdisjoint(_names(task.training_batch(0, 0, task.default_length, 1347)))


# A pool of few training sequences


@ALL
@pytest.mark.parametrize(("pool", "size"), [(1, 4), (10, 4), (10, 10), (7, 20)])
def test_a_pool_is_gone_through_in_shuffled_epochs(task: Task, pool: int, size: int) -> None:
    length = short(task)
    batches = [task.training_batch(3, step, length, size, pool) for step in range(-(-3 * pool // size))]
    for batch in batches:
        check_contract(task, batch, length, size)
    drawn = [sequence for batch in batches for sequence in whole(task, batch)]
    epochs = [drawn[start : start + pool] for start in range(0, 3 * pool, pool)]
    assert len(set(epochs[0])) == pool
    assert set(epochs[0]) == set(epochs[1]) == set(epochs[2])
    assert pool == 1 or epochs[0] != epochs[1] or epochs[1] != epochs[2]


def whole(task: Task, batch: Batch) -> list[bytes]:
    """Each sequence with its target and its marks, as bytes."""
    targets = batch.targets if task.readout == "last" else np.moveaxis(batch.targets, 1, 0)  # (B, ...)
    sequences = np.moveaxis(batch.inputs, 1, 0)  # (B, T, I)
    parts = zip(sequences, targets, batch.marks, strict=True)
    return [x.tobytes() + y.tobytes() + m.tobytes() for x, y, m in parts]


@ALL
def test_a_pool_is_the_same_for_every_seed_and_a_part_of_every_larger_one(task: Task) -> None:
    length = short(task)
    few, again, more = (
        set(whole(task, task.training_batch(seed, 0, length, pool, pool)))
        for seed, pool in ((0, 20), (1, 20), (0, 50))
    )
    assert few == again
    assert len(few) == 20
    assert few < more
    orders = [whole(task, task.training_batch(seed, 0, length, 20, 20)) for seed in (0, 1)]
    assert orders[0] != orders[1]


@ALL
def test_no_sequence_of_a_pool_is_held_out(task: Task) -> None:
    length = task.default_length
    pool = whole(task, task.training_batch(0, 0, length, 300, 300))
    assert set(pool).isdisjoint(whole(task, task.validation_batch(length)))


@ALL
def test_a_pool_of_none_changes_nothing(task: Task) -> None:
    length = short(task)
    one, other = task.training_batch(4, 2, length, 8), task.training_batch(4, 2, length, 8, 0)
    assert whole(task, one) == whole(task, other)


@ALL
def test_the_largest_pool(task: Task) -> None:
    largest = task.most_sequences
    assert largest == (1347 if task.name in DATA_SETS else 2000)
    batch = task.training_batch(0, 0, task.default_length, largest, largest)
    assert len(set(whole(task, batch))) == largest
    for pool in (-1, largest + 1):
        with pytest.raises(ValueError, match=f"from 0 to {largest} training sequences; got {pool}"):
            task.training_batch(0, 0, task.default_length, 2, pool)


def test_a_pool_of_digits_has_every_digit_in_it() -> None:
    """The shuffle is fixed: 50 digits of it may be few of one kind, but none is missing."""
    classes = TASKS["digits"].training_batch(0, 0, 64, 50, 50).targets
    assert set(classes.tolist()) == set(range(10))


def test_importing_and_drawing_needs_neither_torch_nor_scikit_learn() -> None:
    code = (
        "import sys; from rnnviz.tasks import TASKS\n"
        "for task in TASKS.values(): task.training_batch(0, 0, task.default_length, 2)\n"
        "print(*sorted({'torch', 'sklearn', 'pandas', 'plotly', 'streamlit'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_digits_without_scikit_learn_say_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digits_module, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match="pip install scikit-learn"):
        digits_module.load.__wrapped__()


@pytest.mark.parametrize("name", ["digits", "digits_rows"])
def test_the_picture_of_a_digit_is_its_sequence_laid_out(name: str) -> None:
    task = TASKS[name]
    batch = task.validation_batch(task.default_length)
    picture = task.picture(batch, 3)
    assert picture.shape == (8, 8)
    assert picture.ravel().tolist() == batch.inputs[:, 3].ravel().tolist()
    assert TASKS["adding"].picture(TASKS["adding"].validation_batch(10), 0) is None
