"""The figure of one sequence shows every value, marks the right steps and suits any background."""

import numpy as np
import plotly.graph_objects as go
import pytest

from rnnviz.plots.sample import MOST_BARS, TEXT, sample_figure
from rnnviz.tasks import TASKS


def figure_of(name: str, length: int | None = None) -> tuple[go.Figure, np.ndarray]:
    """The figure of one sequence, and the sequence (T, I)."""
    task = TASKS[name]
    batch = task.sample(np.random.default_rng(0), length or task.default_length, 2)
    inputs = batch.inputs[:, 1]
    return sample_figure(inputs, task.channels(), batch.marks[1], task.answer(batch, 1)), inputs


def frames(figure: go.Figure) -> list[tuple[float, float]]:
    return [(shape.x0, shape.x1) for shape in figure.layout.shapes]


@pytest.mark.parametrize("name", TASKS)
def test_every_task_can_be_drawn(name: str) -> None:
    task = TASKS[name]
    for length in {task.min_length, task.default_length, min(task.max_length, 200)}:
        figure, _ = figure_of(name, length)
        assert len(figure.data) >= 1
        for trace in figure.data:
            np.testing.assert_array_equal(trace.x, np.arange(1, task.steps(length) + 1))
        for axis in figure.select_xaxes():
            assert tuple(axis.range) == (0.5, task.steps(length) + 0.5)
        assert [axis.title.text for axis in figure.select_xaxes()][-1] == "time step t"
        figure.to_json()


@pytest.mark.parametrize("name", TASKS)
def test_the_page_shows_through(name: str) -> None:
    layout = figure_of(name)[0].layout
    assert layout.paper_bgcolor == layout.plot_bgcolor == "rgba(0, 0, 0, 0)"
    assert layout.font.color is None


def test_symbols_become_cells_and_gaps() -> None:
    figure, inputs = figure_of("temporal_order")
    (trace,) = figure.data
    assert trace.type == "heatmap"
    assert tuple(trace.y) == TASKS["temporal_order"].channels()
    np.testing.assert_array_equal(trace.z, np.where(inputs.T == 1, 1, np.nan))
    assert figure.layout.yaxis.autorange == "reversed"
    # Names such as "1" must stay names, in the order of the channels.
    assert figure.layout.yaxis.type == "category"


def test_real_channels_become_panels() -> None:
    figure, inputs = figure_of("adding")
    assert [trace.type for trace in figure.data] == ["bar", "bar"]
    for trace, column in zip(figure.data, inputs.T, strict=True):
        np.testing.assert_array_equal(trace.y, column)
    assert [axis.title.text for axis in figure.select_yaxes()] == ["value", "marker"]


def test_a_single_channel_is_never_a_symbol() -> None:
    assert sample_figure(np.ones((5, 1)), ("ink",), [], "x").data[0].type == "bar"


def test_long_sequences_become_lines() -> None:
    assert {trace.type for trace in figure_of("adding", MOST_BARS)[0].data} == {"bar"}
    assert {trace.type for trace in figure_of("adding", MOST_BARS + 1)[0].data} == {"scatter"}


def test_pixels_become_one_panel_and_rows_a_heat_map() -> None:
    figure, inputs = figure_of("digits")
    assert [trace.type for trace in figure.data] == ["bar"]
    np.testing.assert_array_equal(figure.data[0].y, inputs[:, 0])
    figure, inputs = figure_of("digits_rows")
    assert [trace.type for trace in figure.data] == ["heatmap"]
    np.testing.assert_array_equal(figure.data[0].z, inputs.T)
    assert not figure.layout.shapes


def test_marks_are_framed_and_labelled_counting_from_one() -> None:
    figure = sample_figure(np.linspace(0, 1, 50)[:, None], ("value",), [3, 35], "x")
    assert frames(figure) == [(3.5, 4.5), (35.5, 36.5)]
    assert [note.text for note in figure.layout.annotations] == ["▼ t = 4", "▼ t = 36"]
    assert [note.x for note in figure.layout.annotations] == [4, 36]
    for shape in figure.layout.shapes:
        assert (shape.type, shape.yref, shape.y0, shape.y1) == ("rect", "paper", 0, 1)


def test_neighbouring_marks_share_a_frame() -> None:
    figure = sample_figure(np.zeros((50, 1)), ("value",), np.array([9, 8, 7, 30]), "x")
    assert frames(figure) == [(7.5, 10.5), (30.5, 31.5)]
    assert [note.text for note in figure.layout.annotations] == ["▼ t = 8 to 10", "▼ t = 31"]
    assert frames(figure_of("copying")[0]) == [(0.5, 10.5)]


def test_labels_of_close_marks_do_not_overlap() -> None:
    close = sample_figure(np.zeros((100, 1)), ("value",), [40, 45, 50, 90], "x")
    assert [note.yshift for note in close.layout.annotations] == [0, 16, 0, 0]
    assert [note.x for note in close.layout.annotations] == [41, 46, 51, 91]


@pytest.mark.parametrize("marks", [[], np.empty(0, dtype=np.int64)])
def test_no_marks(marks: list[int]) -> None:
    figure = sample_figure(np.zeros((5, 1)), ("value",), marks, "x")
    assert not figure.layout.shapes
    assert not figure.layout.annotations


def test_title_says_the_answer_and_the_prediction() -> None:
    assert figure_of("digits")[0].layout.title.text.startswith("Right answer: ")
    text = sample_figure(np.zeros((5, 1)), ("ink",), [], "7", "1").layout.title.text
    assert text == "Right answer: 7<br>The network says: 1"


def test_words_can_be_translated() -> None:
    words = dict(TEXT, time="Zeitschritt t", marks="t = {first} bis {last}", answer="Richtig: {answer}")
    figure = sample_figure(np.zeros((5, 1)), ("ink",), [1, 2], "7", text=words)
    assert figure.layout.xaxis.title.text == "Zeitschritt t"
    assert figure.layout.annotations[0].text == "▼ t = 2 bis 3"
    assert figure.layout.title.text == "Richtig: 7"


def test_refuses_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match=r"\(T, 2\).*got \(5, 3\)"):
        sample_figure(np.zeros((5, 3)), ("a", "b"), [], "x")
    with pytest.raises(ValueError, match=r"\(T, 2\).*got \(5,\)"):
        sample_figure(np.zeros(5), ("a", "b"), [], "x")
    with pytest.raises(ValueError, match=r"from 0 to 4; got \[-1, 5\]"):
        sample_figure(np.zeros((5, 1)), ("a",), [0, -1, 5], "x")
