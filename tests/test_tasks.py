"""Every task keeps the contract of rnnviz.tasks.task; its numbers are those of its source."""

import math
import re
import subprocess
import sys
from collections import Counter
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnviz.tasks import TASKS, Batch, Solved, Task
from rnnviz.tasks import digits as digits_module
from rnnviz.tasks import task as task_module
from rnnviz.tasks import text as text_module
from rnnviz.tasks.shuffled import Shuffled
from rnnviz.tasks.task import NO_ANSWER, VALIDATION_SIZE, GeneratedTask

ALL = pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
GENERATED = [name for name, task in TASKS.items() if isinstance(task, GeneratedTask)]
DATA_SETS = ["digits", "digits_rows", "digits_permuted", "digits_shuffled"]
# There are few short strings of the grammar: the same ones are drawn again and again.
REPEATING = ["reber"]
# The steps of a string of the grammar depend on each other, as do the letters of a digit's name, and the two
# parts of the text differ: these have tests of their own.
SAME_BASELINE_EVERYWHERE = pytest.mark.parametrize(
    "task",
    [task for name, task in TASKS.items() if name not in ("reber", "text", "spelling")],
    ids=lambda task: task.name,
)
POOLS = {**dict.fromkeys((*DATA_SETS, "spelling"), 1347), "permutation": 1000}
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
    leading = (task.answered(length), size) if task.readout == "every" else (size,)
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
    first = ["digits", "digits_rows", "adding", "temporal_order", "copying"]
    assert list(TASKS) == [
        *first,
        *("multiplication", "latch", "temporal_order_3", "parity", "parity_running", "reber"),
        *("permutation", "echo", "repetition", "reversal", "spelling"),
        *("digits_permuted", "digits_shuffled", "temporal_order_shuffled", "text"),
    ]


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
    assert size == {**dict.fromkeys(GENERATED, 1000), "text": 473}.get(task.name, 450)
    check_contract(task, batch, length, size)
    before = batch.inputs.tobytes()
    task.training_batch(0, 0, length, 4)
    assert task.validation_batch(length) is batch
    assert task.validation_batch(length).inputs.tobytes() == before
    for array in (batch.inputs, batch.targets, batch.marks):
        assert not array.flags.writeable


@pytest.mark.parametrize("name", [name for name in GENERATED if name not in REPEATING])
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


@SAME_BASELINE_EVERYWHERE
@pytest.mark.parametrize("length", ["min_length", "default_length", "max_length"])
def test_baseline_is_the_best_constant_predictor(task: Task, length: str) -> None:
    """The loss of the best constant at each time step, fitted to many sequences, is the stated baseline."""
    T = getattr(task, length)
    size = MANY if length != "max_length" else 1000
    generator, axis = rng(1), 1 if task.readout == "every" else 0
    # Piece by piece: the inputs of all of them would be large.
    pieces = [task.sample(generator, T, 1000).targets for _ in range(size // 1000)]
    found = np.concatenate(pieces, axis=axis)
    if task.loss == "mse":
        error = (found - found.mean(axis=0)) ** 2
        assert abs(error.mean() - task.baseline(T)) < 4 * error.std() / math.sqrt(error.size)
        return
    # 2 N (true entropy - entropy of the counted shares) is chi-squared, one degree for each free share.
    targets = found.reshape(-1, size)  # one row per time step with a readout
    excess, freedom = 2 * size * len(targets) * task.baseline(T), 0
    for row in targets:
        counts = np.bincount(row)
        counts = counts[counts > 0]
        excess += 2 * float((counts * np.log(counts / size)).sum())
        freedom += len(counts) - 1
    assert freedom > 0
    assert abs(excess - freedom) < 4 * math.sqrt(2 * freedom)


@SAME_BASELINE_EVERYWHERE
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


FEW_WRONG = ["temporal_order_3", "temporal_order_shuffled", "latch", "parity", "permutation"]


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
        ("multiplication", 0.0029, 0.0, True),
        ("multiplication", 0.003, 1.0, False),
        *((name, 9.0, 991 / 1000, True) for name in FEW_WRONG),
        *((name, 0.0, 990 / 1000, False) for name in FEW_WRONG),
        *((name, 9.0, 0.99, True) for name in ("parity_running", "reber", "echo")),
        *((name, 0.0, 0.9899, False) for name in ("parity_running", "reber", "echo")),
        *((name, 9.0, 0.95, True) for name in ("digits_permuted", "digits_shuffled")),
        ("text", 1.59, 0.0, True),
        ("text", 1.6, 1.0, False),
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
        ("multiplication", 50, 0.0486111),
        ("latch", 50, 0.6931472),
        ("temporal_order_3", 50, 2.0794415),
        ("temporal_order_shuffled", 50, 1.3862944),
        ("parity", 20, 0.6931472),
        ("parity_running", 20, 0.6931472),
        ("permutation", 50, 0.6931472),
        ("echo", 20, 0.3465736),
        ("echo", 10, 0.4620981),
        ("digits_permuted", 64, 2.3025851),
        ("digits_shuffled", 64, 2.3025851),
    ],
)
def test_published_baselines(name: str, length: int, baseline: float) -> None:
    assert TASKS[name].baseline(length) == pytest.approx(baseline, abs=5e-7)


# Adding and multiplication

MARKED = pytest.mark.parametrize("name", ["adding", "multiplication"])


@MARKED
@pytest.mark.parametrize("length", [2, 3, 10, 51])
def test_one_step_of_each_half_is_marked(name: str, length: int) -> None:
    batch = TASKS[name].sample(rng(), length, 5000)
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


def test_multiplication_answers_the_product_of_the_marked_values() -> None:
    batch = TASKS["multiplication"].sample(rng(), 40, 500)
    for i in range(500):
        (marked,) = (batch.inputs[batch.inputs[:, i, 1] == 1, i, 0],)
        assert len(marked) == 2
        assert batch.targets[i, 0] == pytest.approx(float(np.exp(np.log(marked).sum())), rel=1e-12)


@MARKED
def test_marked_values_are_uniform(name: str) -> None:
    values = TASKS[name].sample(rng(), 100, 1000).inputs[:, :, 0]
    assert 0 <= values.min() < 1e-3
    assert 1 - 1e-3 < values.max() < 1
    assert abs(values.mean() - 1 / 2) < 4 * math.sqrt(1 / 12 / values.size)
    squares = (values - 1 / 2) ** 2
    assert abs(squares.mean() - 1 / 12) < 4 * squares.std() / math.sqrt(values.size)


@MARKED
def test_answers_count_within_the_tolerance(name: str) -> None:
    task = TASKS[name]
    batch = task.sample(rng(), 10, 4)
    assert task.accuracy(batch.targets + np.array([[0.0399], [-0.0399], [0.0401], [-0.0401]]), batch) == 0.5


def test_adding_words() -> None:
    task = TASKS["adding"]
    inputs = np.array([[[0.5, 0.0]], [[0.625, 1.0]], [[0.25, 1.0]]])
    batch = Batch(inputs, np.array([[0.875]]), np.array([[1, 2]]))
    assert task.answer(batch, 0) == "0.625 + 0.250 ≈ 0.875"
    assert task.predicted(np.array([-0.12345])) == "-0.123"
    product_of_two = Batch(inputs, np.array([[0.15625]]), np.array([[1, 2]]))
    assert TASKS["multiplication"].answer(product_of_two, 0) == "0.625 \N{MULTIPLICATION SIGN} 0.250 ≈ 0.156"


# Temporal order


# Where each of the ranges begins, as a share of the length.
RANGES = {"temporal_order": (0.1, 0.5), "temporal_order_3": (0.1, 0.3, 0.6)}
ORDERS = pytest.mark.parametrize("name", RANGES)


@ORDERS
@pytest.mark.parametrize("length", [10, 11, 19, 20, 25, 50, 99, 100, 200, 500])
def test_temporal_order_positions_are_those_of_the_authors(name: str, length: int) -> None:
    marks = TASKS[name].sample(rng(), length, 4000).marks
    width = int(length * 0.1)
    assert width >= 1
    for begin, found in zip(RANGES[name], marks.T, strict=True):
        assert set(found) == set(range(int(length * begin), int(length * begin) + width))


@ORDERS
def test_temporal_order_tenths_agree_with_the_authors_rounding_at_every_length(name: str) -> None:
    task = TASKS[name]
    for length in range(task.min_length, task.max_length + 1):
        for begin, found in zip(RANGES[name], task.sample(rng(), length, 1).marks[0], strict=True):
            assert int(length * begin) <= found < int(length * begin) + int(length * 0.1)


@ORDERS
def test_temporal_order_symbols_and_classes(name: str) -> None:
    task, places = TASKS[name], len(RANGES[name])
    batch = task.sample(rng(), 40, 2000)
    np.testing.assert_array_equal(batch.inputs.sum(axis=2), 1)
    symbols = batch.inputs.argmax(axis=2)
    assert ((symbols < 2).sum(axis=0) == places).all()
    assert set(symbols.ravel()) == set(range(6))
    assert set(batch.targets) == set(range(2**places))
    for i in range(2000):
        seen = [int(symbol) for symbol in symbols[:, i] if symbol < 2]  # in the order of time
        assert batch.targets[i] == int("".join(map(str, reversed(seen))), 2)
        assert symbols[batch.marks[i], i].tolist() == seen
        said = " then ".join("AB"[symbol] for symbol in seen)
        assert task.answer(batch, i) == said
        assert task.predicted(np.eye(2**places)[batch.targets[i]]) == said


@ORDERS
def test_temporal_order_fillers_are_equally_likely(name: str) -> None:
    counts = TASKS[name].sample(rng(), 100, 1000).inputs.sum(axis=(0, 1))[2:]
    fillers = (100 - len(RANGES[name])) * 1000
    assert np.abs(counts - fillers / 4).max() < 4 * math.sqrt(fillers * (1 / 4) * (3 / 4))


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


def as_read(name: str, index: int) -> np.ndarray:
    """The pixels of an image in the order in which a task reads them."""
    image = digits_module.load()[0][index]
    if name == "digits_permuted":
        return image[digits_module.one_order()]
    return image[digits_module.own_orders()[index]] if name == "digits_shuffled" else image


@pytest.mark.parametrize("name", DATA_SETS)
@pytest.mark.parametrize("size", [1347, 449, 3, 2000])
def test_an_epoch_visits_every_training_digit_once(name: str, size: int) -> None:
    task = TASKS[name]
    training, _ = digits_module.split()
    expected = {as_read(name, index).tobytes() for index in training}
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


# Latch


@settings(max_examples=25, deadline=None, derandomize=True)
@given(length=st.integers(4, 60), size=st.integers(1, 40), seed=st.integers(0, 2**32 - 1))
def test_latch_begins_with_its_class_three_times(length: int, size: int, seed: int) -> None:
    task = TASKS["latch"]
    batch = task.sample(rng(seed), length, size)
    for i in range(size):
        begin = {0: "-1", 1: "+1"}[int(batch.targets[i])]
        assert batch.inputs[:3, i, 0].tolist() == [float(begin)] * 3
        assert abs(batch.inputs[3, i, 0]) != 1
        assert task.answer(batch, i) == begin
    assert batch.marks.tolist() == [[0, 1, 2]] * size


def test_latch_noise_is_normal_and_says_nothing_about_the_class() -> None:
    batch = TASKS["latch"].sample(rng(), 103, 2000)
    noise = batch.inputs[3:, :, 0]
    # Mean, variance and fourth moment of N(0, 0.2), each within four standard errors.
    for power, expected in ((1, 0.0), (2, 0.2), (4, 3 * 0.2**2)):
        found = noise**power
        assert abs(found.mean() - expected) < 4 * found.std() / math.sqrt(found.size)
    assert abs(np.corrcoef(noise.sum(axis=0), batch.targets)[0, 1]) < 4 / math.sqrt(2000)
    assert abs(batch.targets.mean() - 1 / 2) < 4 * 0.5 / math.sqrt(2000)


# Parity


@settings(max_examples=25, deadline=None, derandomize=True)
@given(length=st.integers(1, 60), size=st.integers(1, 40), seed=st.integers(0, 2**32 - 1))
def test_parity_counts_the_ones(length: int, size: int, seed: int) -> None:
    final, running = (TASKS[name].sample(rng(seed), length, size) for name in ("parity", "parity_running"))
    for batch in (final, running):
        assert set(np.unique(batch.inputs)) <= {0.0, 1.0}
        assert (batch.inputs.sum(axis=2) == 1).all()
        assert batch.marks.tolist() == [list(range(length))] * size
    for i in range(size):
        ones = [int(t) for t in np.flatnonzero(final.inputs[:, i, 1])]
        assert final.targets[i] == len(ones) % 2
        odd = False
        for t in range(length):
            odd ^= bool(running.inputs[t, i, 1])
            assert running.targets[t, i] == odd


def test_parity_bits_are_fair_and_independent() -> None:
    bits = TASKS["parity"].sample(rng(), 50, 4000).inputs[:, :, 1]
    assert abs(bits.mean() - 1 / 2) < 4 * 0.5 / math.sqrt(bits.size)
    same_as_before = bits[1:] == bits[:-1]
    assert abs(same_as_before.mean() - 1 / 2) < 4 * 0.5 / math.sqrt(same_as_before.size)


def test_parity_words() -> None:
    inputs = np.eye(2)[[1, 1, 0, 1]][:, None]
    final = Batch(inputs, np.array([1]), np.arange(4)[None])
    assert TASKS["parity"].answer(final, 0) == "odd"
    assert TASKS["parity"].predicted(np.array([2.0, 1.0])) == "even"
    running = Batch(inputs, np.array([1, 0, 0, 1])[:, None], np.arange(4)[None])
    assert TASKS["parity_running"].answer(running, 0) == "1 0 0 1"
    output = np.array([[0.0, 1.0], [math.nan, 0.0], [1.0, 0.0], [0.0, 1.0]])
    assert TASKS["parity_running"].predicted(output) == "1 ? 0 1"


# Embedded Reber grammar

# Written from the diagram by hand, not from the table in the code: S* and T* are its two loops, X leads back.
REBER = r"B(?:TS*X(?:XT*VP)*(?:S|XT*VV)|PT*V(?:PXT*V)*(?:V|PS))E"
EMBEDDED = re.compile(rf"B(?:T{REBER}T|P{REBER}P)E")


def strings_of(batch: Batch) -> list[str]:
    """Each string up to its end; the blanks after it are checked."""
    found = []
    for i in range(batch.inputs.shape[1]):
        read = "".join(TASKS["reber"].channels()[k] for k in batch.inputs[:, i].argmax(axis=1))
        string = read.rstrip("·")
        assert "·" not in string
        asked = "".join(TASKS["reber"].channels()[k] for k in batch.targets[:, i])
        assert asked == read[1:] + "·"
        found.append(string)
    return found


def all_strings(longest: int) -> dict[str, float]:
    """Every string of the grammar up to a length, with its chance among those; by brute force.

    A string of n symbols is made by n - 5 tosses of a coin: none for both B, both E and the repeated one.
    """
    found = {}
    for symbols in range(3, longest - 5):
        for middle in product("TPSXV", repeat=symbols):
            for branch in "TP":
                string = f"B{branch}B{''.join(middle)}E{branch}E"
                if EMBEDDED.fullmatch(string):
                    found[string] = 0.5 ** (len(string) - 5)
    total = sum(found.values())
    return {string: chance / total for string, chance in found.items()}


@settings(max_examples=25, deadline=None, derandomize=True)
@given(length=st.integers(9, 100), size=st.integers(1, 40), seed=st.integers(0, 2**32 - 1))
def test_reber_strings_belong_to_the_grammar_and_fit(length: int, size: int, seed: int) -> None:
    batch = TASKS["reber"].sample(rng(seed), length, size)
    for string, marks in zip(strings_of(batch), batch.marks.tolist(), strict=True):
        assert EMBEDDED.fullmatch(string), string
        assert len(string) <= length
        assert marks == [1, len(string) - 2]
        assert string[marks[0]] == string[marks[1]] in "TP"


@pytest.mark.parametrize("length", [9, 10, 13])
def test_reber_draws_every_string_as_often_as_its_chance_says(length: int) -> None:
    chances = all_strings(length)
    assert len(chances) >= 4
    counts = Counter(strings_of(TASKS["reber"].sample(rng(1), length, MANY)))
    assert set(counts) == set(chances)
    squares = sum((counts[s] - MANY * p) ** 2 / (MANY * p) for s, p in chances.items())
    freedom = len(chances) - 1
    assert abs(squares - freedom) < 4 * math.sqrt(2 * freedom)


@pytest.mark.parametrize("length", range(9, 14))
def test_reber_baseline_is_exact(length: int) -> None:
    """Against the entropies of all strings that fit, one by one."""
    chances, total = all_strings(length), 0.0
    for t in range(1, length + 1):
        shares: dict[str, float] = {}
        for string, chance in chances.items():
            symbol = string[t : t + 1] or "·"
            shares[symbol] = shares.get(symbol, 0.0) + chance
        total -= sum(p * math.log(p) for p in shares.values())
    assert TASKS["reber"].baseline(length) == pytest.approx(total / length, rel=1e-12)


@pytest.mark.parametrize("length", [20, 30, 100])
def test_reber_baseline_fits_many_strings(length: int) -> None:
    targets = TASKS["reber"].sample(rng(2), length, MANY).targets
    shares = np.stack([(targets == k).mean(axis=1) for k in range(8)])  # (8, T)
    surprise = -np.log(shares[targets, np.arange(length)[:, None]]).mean(axis=0)  # of each string
    error = surprise.std() / math.sqrt(MANY)
    assert error < 0.01 * surprise.mean()
    assert abs(surprise.mean() - TASKS["reber"].baseline(length)) < 4 * error


def test_reber_strings_nearly_always_fit_into_the_default_length() -> None:
    task = TASKS["reber"]
    lengths = np.array([len(string) for string in strings_of(task.sample(rng(), 100, 5000))])
    assert (lengths <= task.default_length).mean() > 0.997
    # 1 string in 4 is of the least length: a smaller default would not be a matter of chance only.
    assert abs((lengths == task.min_length).mean() - 1 / 4) < 4 * math.sqrt(3 / 16 / 5000)


def test_reber_accuracy_asks_for_the_last_but_one_symbol_alone() -> None:
    task = TASKS["reber"]
    batch = task.sample(rng(), 20, 40)
    right = perfect(task, batch)
    wrong = np.roll(right, 1, axis=-1)
    only, all_but = wrong.copy(), right.copy()
    for i, string in enumerate(strings_of(batch)):
        asked = len(string) - 3  # the step at which E of the inner string is read
        assert string[asked] == "E"
        only[asked, i], all_but[asked, i] = right[asked, i], wrong[asked, i]
    assert task.accuracy(only, batch) == 1.0
    assert task.accuracy(all_but, batch) == 0.0


def test_reber_words() -> None:
    task = TASKS["reber"]
    string = "BTBPVVETE·"
    targets = np.array([task.channels().index(symbol) for symbol in string[1:]])
    batch = Batch(np.zeros((9, 1, 8)), targets[:, None], np.array([[1, 7]]))
    assert task.answer(batch, 0) == "T B P V V E T E ·"
    output = np.eye(8)[targets]
    output[2, 5] = math.nan
    assert task.predicted(output) == "T B ? V V E T E ·"


# Random permutation


@settings(max_examples=25, deadline=None, derandomize=True)
@given(length=st.integers(2, 60), size=st.integers(1, 40), seed=st.integers(0, 2**32 - 1))
def test_permutation_asks_for_the_first_symbol(length: int, size: int, seed: int) -> None:
    task = TASKS["permutation"]
    batch = task.sample(rng(seed), length, size)
    assert (batch.inputs.sum(axis=2) == 1).all()
    for i in range(size):
        first, *others = (int(np.flatnonzero(step)[0]) for step in batch.inputs[:, i])
        assert first in (0, 1)
        assert batch.targets[i] == first
        assert min(others) >= 2
        assert task.answer(batch, i) == str(first)
    assert batch.marks.tolist() == [[0]] * size


def test_permutation_symbols_are_equally_likely() -> None:
    counts = TASKS["permutation"].sample(rng(), 50, 2000).inputs.sum(axis=(0, 1))
    assert abs(counts[0] - 1000) < 4 * math.sqrt(2000 / 4)
    assert counts[:2].sum() == 2000
    expected = 49 * 2000 / 98
    squares = ((counts[2:] - expected) ** 2 / expected).sum()
    assert abs(squares - 97) < 4 * math.sqrt(2 * 97)


def test_no_batch_of_the_permutation_problem_is_very_large() -> None:
    task = TASKS["permutation"]
    numbers = task.steps(task.max_length) * task.input_size * max(VALIDATION_SIZE, task.most_sequences)
    assert numbers * 8 <= 80_000_000


# Echo


@settings(max_examples=25, deadline=None, derandomize=True)
@given(delay=st.integers(1, 60), size=st.integers(1, 40), seed=st.integers(0, 2**32 - 1))
def test_echo_repeats_every_bit_after_the_delay(delay: int, size: int, seed: int) -> None:
    task = TASKS["echo"]
    batch = task.sample(rng(seed), delay, size)
    assert task.steps(delay) == len(batch.inputs) == delay + 20
    assert (batch.inputs.sum(axis=2) == 1).all()
    for i in range(size):
        bits = [int(np.flatnonzero(step)[0]) for step in batch.inputs[:, i]]
        expected = [2 if t < delay else bits[t - delay] for t in range(delay + 20)]
        assert batch.targets[:, i].tolist() == expected
        # The marked steps are those whose bits are asked for.
        assert batch.marks[i].tolist() == [t - delay for t in range(delay + 20) if t >= delay]
        assert task.answer(batch, i) == " ".join(map(str, expected[delay:]))


def test_echo_accuracy_ignores_the_steps_before_the_first_echo() -> None:
    task = TASKS["echo"]
    batch = task.sample(rng(), 7, 30)
    right = perfect(task, batch)
    wrong = np.roll(right, 1, axis=-1)
    assert task.accuracy(np.concatenate([wrong[:7], right[7:]]), batch) == 1.0
    assert task.accuracy(np.concatenate([right[:7], wrong[7:]]), batch) == 0.0
    assert task.accuracy(np.concatenate([right[:7], wrong[7:8], right[8:]]), batch) == pytest.approx(0.95)


def test_echo_says_nothing_yet_and_no_number() -> None:
    output = np.eye(3)[[2] * 5 + [0, 1] * 10]
    output[-1] = math.nan
    output[5] = [0, 0, 1]
    assert TASKS["echo"].predicted(output) == "· " + "1 0 " * 9 + "?"


# The control: shuffled steps


def test_shuffled_has_the_name_it_is_listed_by_and_says_what_is_shuffled() -> None:
    shuffled, plain = TASKS["temporal_order_shuffled"], TASKS["temporal_order"]
    assert (shuffled.solved, shuffled.channels()) == (plain.solved, plain.channels())
    assert plain.explanation in shuffled.explanation


@pytest.mark.parametrize("name", GENERATED)
@settings(max_examples=10, deadline=None, derandomize=True)
@given(extra=st.integers(0, 20), size=st.integers(1, 20), seed=st.integers(0, 2**32 - 1))
def test_shuffled_moves_steps_and_their_marks_and_nothing_else(
    name: str, extra: int, size: int, seed: int
) -> None:
    task = TASKS[name]
    assert isinstance(task, GeneratedTask)
    length = task.min_length + extra
    plain = task.sample(rng(seed), length, size)
    moved = Shuffled(task, "").sample(rng(seed), length, size)
    check_contract(Shuffled(task, ""), moved, length, size)
    np.testing.assert_array_equal(moved.targets, plain.targets)
    for i in range(size):
        before, after = ([step.tobytes() for step in batch.inputs[:, i]] for batch in (plain, moved))
        assert Counter(before) == Counter(after)
        assert [before[t] for t in plain.marks[i]] == [after[t] for t in moved.marks[i]]
        assert len(set(moved.marks[i].tolist())) == moved.marks.shape[1]


def test_shuffled_puts_every_step_anywhere_and_each_sequence_in_its_own_order() -> None:
    """The values of adding are all different, so that the order of each sequence can be told."""
    adding = TASKS["adding"]
    assert isinstance(adding, GeneratedTask)
    plain, moved = adding.sample(rng(5), 5, 5000), Shuffled(adding, "").sample(rng(5), 5, 5000)
    same_value = plain.inputs[:, None, :, 0] == moved.inputs[None, :, :, 0]  # (from, to, B)
    assert (same_value.sum(axis=1) == 1).all()
    places = same_value.argmax(axis=1)  # (from, B)
    for where in places:
        counts = np.bincount(where, minlength=5)
        assert ((counts - 1000) ** 2 / 1000).sum() < 4 + 4 * math.sqrt(2 * 4)
    assert len({tuple(order) for order in places.T.tolist()}) == math.factorial(5)


def test_shuffled_temporal_order_leaves_two_of_four_answers_open() -> None:
    """From the counts of A and B, which is all that is left, three in four are the best."""
    batch = TASKS["temporal_order_shuffled"].sample(rng(), 10, 8000)
    of_b = batch.inputs[:, :, 1].sum(axis=0)
    best = np.select([of_b == 0, of_b == 1, of_b == 2], [0, 1, 3])
    assert abs((best == batch.targets).mean() - 0.75) < 4 * math.sqrt(3 / 16 / 8000)
    # Not the order either: A stands before B as often in one open class as in the other.
    places = batch.inputs.argmax(axis=0)  # of the first A and the first B
    open_ones = of_b == 1
    before = (places[:, 0] < places[:, 1])[open_ones]
    share = [before[batch.targets[open_ones] == k].mean() for k in (1, 2)]
    assert abs(share[0] - share[1]) < 4 * math.sqrt(1 / 4 / 2000 * 2)


# Digits in other orders


def test_permuted_digits_are_all_read_in_one_order() -> None:
    plain, permuted = (TASKS[name].validation_batch(64) for name in ("digits", "digits_permuted"))
    order = digits_module.one_order()
    assert sorted(order.tolist()) == list(range(64))
    assert order.tolist() != list(range(64))
    # Pinned: with another order recorded runs could not be told apart from new ones.
    assert order[:8].tolist() == [8, 34, 1, 14, 57, 33, 59, 10]
    np.testing.assert_array_equal(permuted.targets, plain.targets)
    for t in range(64):
        np.testing.assert_array_equal(permuted.inputs[t], plain.inputs[order[t]])
    for i in (0, 7, 449):
        picture = TASKS["digits_permuted"].picture(permuted, i)
        np.testing.assert_array_equal(picture, TASKS["digits"].picture(plain, i))


def test_shuffled_digits_have_each_an_order_of_their_own() -> None:
    plain, shuffled = (TASKS[name].validation_batch(64) for name in ("digits", "digits_shuffled"))
    np.testing.assert_array_equal(shuffled.targets, plain.targets)
    np.testing.assert_array_equal(np.sort(shuffled.inputs, axis=0), np.sort(plain.inputs, axis=0))
    orders = digits_module.own_orders()
    assert orders.shape == (1797, 64)
    assert (np.sort(orders, axis=1) == np.arange(64)).all()
    assert len({order.tobytes() for order in orders}) == 1797
    _, held_out = digits_module.split()
    for i in (0, 3, 449):
        np.testing.assert_array_equal(shuffled.inputs[:, i, 0], as_read("digits_shuffled", held_out[i]))
    assert TASKS["digits_shuffled"].picture(shuffled, 0) is None
    # What is left of the place: a pixel's mean ink is the same at every step, where it is not in an image.
    means = [batch.inputs[:, :, 0].mean(axis=1) for batch in (plain, shuffled)]
    assert means[1].std() < 4 * plain.inputs.std() / math.sqrt(450) < means[0].std()


# Text


def letters(symbols: np.ndarray) -> str:
    return "".join(text_module.CHARACTERS[symbol] for symbol in symbols)


def parts() -> tuple[str, str]:
    """The training and the validation part, made from the file by other means."""
    wanted = set("abcdefghijklmnopqrstuvwxyz.,;:'!?-")
    words = text_module.PATH.read_text().lower().split()
    kept = ("".join(c for c in word if c in wanted) for word in words)
    text = " ".join(word for word in kept if word)
    cut = len(text) * 9 // 10
    return text[:cut], text[cut:]


def test_text_is_cleaned() -> None:
    assert (
        text_module.cleaned("  Oh\tno!\n\n'What -- * * * (a) _Cat_?'\r\n42; ") == "oh no! 'what -- a cat?' ;"
    )
    assert text_module.cleaned("a \u00e9 b \u2014 c") == "a b c"


def test_text_is_the_book_in_two_parts() -> None:
    training, held_out = parts()
    assert (letters(text_module.split()[0]), letters(text_module.split()[1])) == (training, held_out)
    assert len(training) > 100_000
    assert set(training) == set(text_module.CHARACTERS), "a character that is never trained cannot be learned"
    assert "alice was beginning to get very tired of sitting by her sister on the bank" in training
    assert held_out.endswith("and the happy summer days.")


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    length=st.integers(10, 200),
    size=st.integers(1, 40),
    step=st.integers(0, 10**6),
    pool=st.integers(0, 2000),
)
def test_text_trains_on_pieces_of_the_training_part(length: int, size: int, step: int, pool: int) -> None:
    task, (training, _) = TASKS["text"], parts()
    for batch in (task.training_batch(1, step, length, size, pool), task.sample(rng(step), length, size)):
        for i in range(size):
            assert (batch.inputs[:, i].sum(axis=1) == 1).all()
            read, asked = letters(batch.inputs[:, i].argmax(axis=1)), letters(batch.targets[:, i])
            assert read[1:] == asked[:-1]
            assert read + asked[-1] in training
            assert task.answer(batch, i) == asked
        assert batch.marks.shape == (size, 0)


def test_text_pieces_begin_everywhere() -> None:
    training, _ = parts()
    batch = TASKS["text"].sample(rng(), 40, 4000)
    starts = np.array([training.find(letters(batch.inputs[:, i].argmax(axis=1))) for i in range(4000)])
    counts, _ = np.histogram(starts, bins=10, range=(0, len(training) - 40))
    assert ((counts - 400) ** 2 / 400).sum() < 9 + 4 * math.sqrt(2 * 9)
    last = TASKS["text"].sample(Highest(), 40, 1)
    assert letters(last.targets[:, 0]) == training[-40:]


class Highest:
    """A generator that always draws the largest number that it may."""

    def integers(self, high: int, size: int) -> np.ndarray:
        return np.full(size, high - 1)


@pytest.mark.parametrize("length", [10, 14, 15, 50, 137, 200])
def test_text_validates_on_the_rest_evenly_and_asks_for_nothing_twice(length: int) -> None:
    _, held_out = parts()
    batch = TASKS["text"].validation_batch(length)
    size = batch.inputs.shape[1]
    assert size == min(1000, (len(held_out) - 1) // length)
    starts, at = [], 0
    for i in range(size):
        piece = letters(batch.inputs[:, i].argmax(axis=1)) + letters(batch.targets[-1:, i])
        assert piece[1:] == letters(batch.targets[:, i])
        # A short piece may occur twice: the one after the last is meant.
        at = held_out.index(piece, at)
        starts.append(at)
        at += length
    gaps = np.diff(starts)
    assert gaps.min() >= length
    assert starts[0] == 0
    assert starts[-1] == len(held_out) - length - 1
    if length >= 50:  # long enough to be found at the right place only
        assert gaps.max() - gaps.min() <= 1


# Spelling


def test_spelling_baseline_is_how_often_each_letter_stands_there() -> None:
    task, loss = TASKS["spelling"], 0.0
    batch = task.training_batch(0, 0, 6, 1347)  # one epoch: every training digit once
    digits = TASKS["digits"].training_batch(0, 0, 64, 1347).targets
    names = [
        ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")[d] for d in digits
    ]
    for t in range(6):
        counts = Counter(name[t : t + 1] for name in names)  # "" where the word has ended
        loss -= sum(n / 1347 * math.log(n / 1347) for n in counts.values()) / 6
    assert task.baseline(6) == pytest.approx(loss, rel=1e-12)
    assert [task.answer(batch, i) for i in range(1347)] == names
    # And what a run measures, on the validation set, is close to it.
    held_out = task.validation_batch(6).targets
    entropy = 0.0
    for letters in held_out:
        p = np.array(list(Counter(letters.tolist()).values())) / len(letters)
        entropy -= float((p * np.log(p)).sum()) / 6
    assert entropy == pytest.approx(loss, rel=0.01)


def test_spelling_shows_a_picture_once_and_counts_whole_words() -> None:
    task = TASKS["spelling"]
    batch = task.validation_batch(6)
    assert batch.inputs.shape == (6, 450, 64)
    assert not batch.inputs[1:].any()
    picture = task.picture(batch, 3)
    assert picture is not None
    np.testing.assert_array_equal(picture.ravel(), batch.inputs[0, 3])
    outputs = np.eye(task.output_size)[batch.targets]  # all right
    assert task.accuracy(outputs, batch) == 1.0
    outputs[0, :45] = np.roll(outputs[0, :45], 1, axis=-1)  # one letter of a tenth of the words is wrong
    assert task.accuracy(outputs, batch) == pytest.approx(0.9)
    letters = "".join(task.classes()[:-1])
    seven = [letters.index(c) for c in "seven"] + [len(letters)]
    output = np.eye(task.output_size)[seven]
    assert task.predicted(output) == "seven"
    output[1, 0] = math.nan
    assert task.predicted(output) == "s?ven"


# Saying it again


@pytest.mark.parametrize(("name", "order"), [("repetition", 1), ("reversal", -1)])
def test_saying_it_again_reads_then_writes_and_is_told_what_was_right(name: str, order: int) -> None:
    task = TASKS[name]
    batch = task.sample(rng(), 5, 7)
    read = batch.inputs[:5].argmax(-1)
    assert (batch.inputs.sum(-1) == 1).all()
    assert (read < 8).all()
    np.testing.assert_array_equal(batch.targets, read[::order])
    told = batch.inputs[5:].argmax(-1)
    assert (told[0] == 8).all(), "first the sign to write"
    np.testing.assert_array_equal(told[1:], batch.targets[:-1])
    assert task.channels()[8] == "write"
    assert task.predicted(np.eye(8)[[0, 7, 2]]) == "a h c"
    assert task.reads_first


@ALL
def test_the_form_is_told_in_words(task: Task) -> None:
    """And it is that of the sequences: where something is read, and where an answer is due."""
    length = task.default_length
    batch = task.sample(rng(), length, 20)
    read = np.flatnonzero(batch.inputs.any(axis=(1, 2)))  # the steps at which anything comes
    answers = len(batch.targets) if task.readout == "every" else 1
    if answers == 1:
        form = "many to one: one answer at the end"
    elif answers < task.steps(length):
        form = "many to many: everything is read before the first answer"
    elif read.tolist() == [0]:
        form = "one to many: one input, an answer at every step"
    else:
        form = "many to many, in step: an answer at every step"
    assert task.form == form


def test_tasks_whose_inputs_tell_earlier_answers_say_so() -> None:
    """Where the input at some step is always the class that was due at a step before it."""
    for task in TASKS.values():
        length = max(task.min_length, task.fixed_length or min(task.default_length, 40))
        batch = task.sample(rng(), length, 200)
        told = False
        if task.readout == "every" and task.input_size >= task.output_size:
            inputs = batch.inputs.argmax(-1)[-len(batch.targets) :]
            told = bool((inputs[1:] == batch.targets[:-1]).all())
        assert task.tells_answers == (told or task.name == "reber"), task.name


def test_only_tasks_that_read_first_leave_steps_without_an_answer() -> None:
    for task in TASKS.values():
        length = task.default_length
        assert task.reads_first == (task.readout == "every" and task.answered(length) < task.steps(length))


def test_text_baseline_is_the_unigram_model_on_the_validation_part() -> None:
    task, (training, held_out) = TASKS["text"], parts()
    counts, seen = Counter(training), Counter(held_out)
    loss = -sum(n * math.log(counts[c] / len(training)) for c, n in seen.items()) / len(held_out)
    for length in (10, 50, 200):
        assert task.baseline(length) == pytest.approx(loss, rel=1e-12)
    assert f"{loss:.2f} nats ({loss / math.log(2):.2f} bits)" in task.baseline_label
    assert f"{task.solved.threshold / math.log(2):.1f} bits per character" in task.solved.sentence
    assert task.solved.threshold < loss
    # And what a run measures, on the validation set, is close to it.
    of_validation = -np.log(np.array([counts[c] for c in text_module.CHARACTERS]) / len(training))
    targets = task.validation_batch(50).targets
    assert of_validation[targets].mean() == pytest.approx(loss, rel=0.005)


def test_text_words() -> None:
    task = TASKS["text"]
    targets = np.array([text_module.CHARACTERS.index(c) for c in " why?"])
    batch = Batch(np.zeros((5, 1, 35)), targets[:, None], np.empty((1, 0), dtype=np.int64))
    assert task.answer(batch, 0) == " why?"
    output = np.eye(35)[targets]
    output[1, 4] = math.nan
    assert task.predicted(output) == " \N{REPLACEMENT CHARACTER}hy?"
    assert task.channels()[26] == "space"


def test_text_is_read_once_and_only_when_it_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_module, "PATH", tmp_path / "other.txt")
    with pytest.raises(FileNotFoundError):
        text_module.load.__wrapped__()
    text_module.PATH.write_text("An OTHER\ntext.")
    assert letters(text_module.load.__wrapped__()) == "an other text."
    assert text_module.load() is text_module.load()
    code = (
        "from pathlib import Path\n"
        "def refuse(*a, **k): raise AssertionError('the text was read')\n"
        "Path.read_text = refuse\n"
        "from rnnviz.tasks import TASKS\n"
        "print(TASKS['text'].label, TASKS['text'].baseline_label, TASKS['text'].steps(50))"
    )
    subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)


def test_no_two_streams_of_random_numbers_are_the_same_one() -> None:
    """And who keeps a constant of its own keeps the one of the list."""
    streams = {name: n for name, n in vars(task_module).items() if name.endswith("_STREAM")}
    assert len(set(streams.values())) == len(streams) > 5
    for path in Path(task_module.__file__).parents[1].rglob("*.py"):
        for name, number in re.findall(r"^_?([A-Z]+_STREAM) = (\d+)", path.read_text(), re.MULTILINE):
            assert streams[name] == int(number), path


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
    assert len(set(epochs[0])) == pool or task.name in REPEATING
    assert Counter(epochs[0]) == Counter(epochs[1]) == Counter(epochs[2])
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
        Counter(whole(task, task.training_batch(seed, 0, length, pool, pool)))
        for seed, pool in ((0, 20), (1, 20), (0, 50))
    )
    assert few == again
    assert len(few) == 20 or task.name in REPEATING
    assert few < more
    orders = [whole(task, task.training_batch(seed, 0, length, 20, 20)) for seed in (0, 1)]
    assert orders[0] != orders[1]


def roomy(task: Task) -> int:
    """A length at which no two random sequences of bits are the same by chance."""
    return min(task.max_length, max(task.default_length, 40))


@pytest.mark.parametrize("name", [name for name in TASKS if name not in REPEATING])
def test_no_sequence_of_a_pool_is_held_out(name: str) -> None:
    task = TASKS[name]
    length = roomy(task)
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
    assert largest == POOLS.get(task.name, 2000)
    batch = task.training_batch(0, 0, roomy(task), largest, largest)
    drawn = set(whole(task, batch))
    assert len(drawn) == largest or (task.name in REPEATING and len(drawn) > largest / 10)
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
