"""The words of the live component: every sentence that the browser shows, in English, ready for translation.

The component fills the names in braces itself, because the numbers change several times a second
and no script runs between two updates. Numbers arrive already formatted (three significant digits,
`1e-9` style for gradients, two digits where the heat map holds no more).
"""

from collections.abc import Callable


def live_text(_: Callable[[str], str]) -> dict[str, str]:
    """Every template of the live component, passed through the translation function `_`."""
    return {
        **_header(_), **_film(_), **_loss(_), **_norm(_), **_heat(_), **_accuracy(_), **_groups(_),
        **_spectrum(_), **_update(_), **_sample(_), **_parts(_),
    }  # fmt: skip


def _header(_: Callable[[str], str]) -> dict[str, str]:
    return {
        "empty": _("Nothing is training here yet. Choose the settings and press Train."),
        "connecting": _("Connecting to the run …"),
        "reconnecting": _("The connection was lost. Trying again …"),
        "fallback": _(
            "The live stream does not reach this browser, so the figures follow about once a second."
        ),
        "state_queued": _("Waiting"),
        "state_running": _("Training"),
        "state_paused": _("Paused"),
        "state_finished": _("Finished"),
        "state_stopped": _("Stopped"),
        "state_diverged": _("Diverged"),
        "state_failed": _("Failed"),
        "state_replay": _("Recording"),
        "step_of": _("step {step} of {steps}"),
        "rate": _("{rate} steps/s"),
        "queue": _("number {position} in the queue"),
        "queue_next": _("next in the queue"),
        "accuracy": _("{label}: {share}"),
        "accuracy_short": _("{share} right"),
        "solved": _("first solved at step {step}"),
        "at_step": _("step {step}"),
        "training_step": _("training step →"),
        "help": _("What is shown here: {title}"),
        "save": _("Download this figure: {title}"),
        "save_png": _("Picture (PNG)"),
        "save_svg": _("Drawing (SVG)"),
        "level_note": _("For your information"),
        "level_good": _("Good"),
        "level_warn": _("Worth a look"),
        "level_bad": _("Something is wrong"),
        "findings_more": _("{count} more"),
        "findings_less": _("Less"),
        "trend": _("smoothed"),
        "not_recorded": _("This was not recorded in this run."),
        "progress": _("Training progress"),
        "nan": _("NaN"),
        "inf": _("Inf"),
        "zero": _("zero"),
    }


def _film(_: Callable[[str], str]) -> dict[str, str]:
    return {
        "film_play": _("Play the recording"),
        "film_pause": _("Pause the recording"),
        "film_again": _("Play the recording again"),
        "film_slider": _("Training step of the recording"),
        "film_step": _("step {step} of {steps}"),
        "film_skip": _("Skip to the end"),
    }


def _loss(_: Callable[[str], str]) -> dict[str, str]:
    return {
        "loss_title": _("Loss"),
        "loss_axis": _("↑ {label}, log scale"),
        "loss_axis_each": _("↑ loss, log scale ({list})"),
        "loss_training": _("training"),
        "loss_validation": _("validation"),
        "loss_goal": _("solved below {loss}"),
        "loss_help": _(
            "How wrong the network is: the line is the loss of each training batch before its update (the "
            "first is step 0), the dots are the loss of sequences it never trains on. The dashed line is "
            "what a network that ignores its input would reach."
        ),
        "loss_help_repeats": _("The band is the range of the validation loss over several seeds."),
        "loss_repeats": _("range over seeds"),
        "loss_repeated": _("Over {runs} seeds: {ended} have ended, {solved} solved the task."),
        "loss_repeated_of": _("{letter} over {runs} seeds: {ended} ended, {solved} solved the task."),
        "loss_each": _("Training loss now: {list}."),
        "loss_each_checked": _("Validation loss now: {list}."),
        "loss_each_solved": _("Solved the task: {list}."),
        "loss_units": _("These are different measures: compare each with its own baseline."),
        "loss_waiting": _("The loss of every training step appears here."),
        "loss_now": _("At step {step} the training loss is {loss}."),
        "loss_checked": _("Validation loss {loss}, {share} of the baseline."),
        "loss_checked_times": _("Validation loss {loss}, {times} times the baseline."),
        "loss_checked_plain": _("Validation loss {loss}."),
        "loss_nan": _("The loss is not a number (NaN) from step {step} on."),
        "loss_inf": _("The loss is infinite from step {step} on."),
        "loss_gap": _("It was first not finite at step {step}."),
        "loss_solved": _("First solved at step {step}."),
    }


def _norm(_: Callable[[str], str]) -> dict[str, str]:
    return {
        "norm_title": _("Gradient norm"),
        "norm_title_largest": _("Largest gradient element"),
        "norm_title_mixed": _("Size of the gradient"),
        "norm_axis": _("↑ gradient norm, log scale"),
        "norm_axis_largest": _("↑ largest element, log scale"),
        "norm_axis_mixed": _("↑ what each clipping rule measures, log scale"),
        "norm_only": _("gradient"),
        "norm_before": _("before"),
        "norm_after": _("after"),
        "norm_threshold": _("threshold"),
        "norm_limit": _("limit"),
        "norm_threshold_or_limit": _("threshold or limit"),
        "norm_full": _("not cut off"),
        "norm_help": _(
            "The length of the gradient vector at each training step, before and after clipping. Where it "
            "exceeds the dashed threshold it is scaled back to it: the direction stays, the step shortens."
        ),
        "norm_help_value": _(
            "The largest absolute element of the gradient at each training step, before and after clipping. "
            "Every element beyond the dashed threshold is cut off there, which also turns the gradient."
        ),
        "norm_help_none": _(
            "The length of the gradient vector at each training step. No clipping is set, so the update uses "
            "it as it is."
        ),
        "norm_help_rule": _(
            "The length of the gradient vector at each training step, before and after clipping. {rule}"
        ),
        "norm_help_moving": _("The dashed line is the limit at each step, where there is one yet."),
        "norm_help_limitless": _("There is no single limit for the whole gradient, so no line shows one."),
        "norm_help_twins": _(
            "The length of each twin's gradient vector at each training step, before clipping. A dashed line "
            "is the threshold or limit of a clipping rule; some rules have none for the whole gradient."
        ),
        "norm_help_mixed": _(
            "What each twin's clipping rule measures, before clipping: the length of the gradient vector or "
            "its largest absolute element. Look at each curve by itself: the two measures do not compare "
            "with each other."
        ),
        "norm_help_full": _(
            "The dotted line is the length that the gradient would have if it were not cut off on its way "
            "back through time."
        ),
        "norm_scope": _("Measured over: {scope}."),
        "norm_measures": _("Measured: {list}."),
        "norm_waiting": _("The size of the gradient appears here."),
        "norm_clipped": _("{share} of the steps were clipped ({clipped} of {made})."),
        "norm_never": _("No step was clipped so far."),
        "norm_now": _("At step {step} the gradient norm was {before} before clipping and {after} after."),
        "norm_now_largest": _(
            "At step {step} the largest element was {before} before clipping and {after} after."
        ),
        "norm_now_none": _("At step {step} the gradient norm was {before}. No clipping is set."),
        "norm_now_limit": _(
            "At step {step} the gradient norm was {before} before clipping and {after} after; the limit was "
            "{limit}."
        ),
        "norm_now_free": _("At step {step} the gradient norm was {before}; there was no limit yet."),
        "norm_full_now": _(
            "Cut off after at most {steps} time steps, the gradient is {share} times as long as the whole "
            "one, and its direction agrees with that one's to {cosine} (cosine; 1 is the same direction)."
        ),
        "norm_full_each": _(
            "The gradient that is cut off, as a share of the whole one, with the cosine between them (1 is "
            "the same direction): {list}."
        ),
        "norm_full_pair": _("{share} (cosine {cosine})"),
        "norm_turned": _(
            "The direction of what clipping left agrees with that of the gradient without it to {cosine} "
            "(cosine; 1 is the same direction)."
        ),
        "norm_omega": _(
            "Omega, the penalty on a gradient that changes its length from step to step on its way back, "
            "is {value} for a sequence (0: it keeps its length)."
        ),
        "norm_each": _("Gradient norm now: {list}."),
        "norm_each_mixed": _("Gradient now: {list}."),
        "norm_each_largest": _("Largest element now: {list}."),
        "norm_each_clipped": _("Share of steps clipped: {list}."),
        "norm_gap": _("The gradient was {kind} at step {step}."),
    }


def _heat(_: Callable[[str], str]) -> dict[str, str]:
    return {
        "heat_title": _("Gradient at each time step"),
        "heat_axis": _("↑ time t in the sequence (t = 1 at the bottom)"),
        "heat_help": _(
            "How strongly the loss reacts to the hidden state h at each time t of the sequence: the norm of "
            "dL/dh_t. A column is one training step and reaches half way to its neighbours; about ten a "
            "second are drawn, fewer of a long run."
        ),
        "heat_help_early": _(
            "Where the lower rows are darker than the upper ones, the network cannot learn from what came "
            "early; the whole turns dark as the loss becomes small."
        ),
        "heat_help_forward": _(
            "Where the lower rows are darker than the upper ones, this layer cannot learn from what came "
            "early; the whole turns dark as the loss becomes small."
        ),
        "heat_help_backward": _(
            "A backward direction reads the sequence from its end: where the upper rows are darker than the "
            "lower ones, it cannot learn from what stands there; the whole turns dark as the loss becomes "
            "small."
        ),
        "heat_help_joined": _(
            "Where the layer above reads both ways, the gradient comes in from both ends of the sequence."
        ),
        "heat_scale": _("norm of dL/dh_t"),
        "heat_waiting": _("The gradient at each time step appears here, one column at a time."),
        "heat_zero": _("zero or underflow"),
        "heat_ratio": _("At step {step} the gradient at t = {first} is {ratio} times that at t = {last}."),
        "heat_pair": _(
            "At step {step} the gradient is {first_value} at t = {first} and {last_value} at t = {last}."
        ),
        "heat_vanished": _(
            "At step {step} the gradient at t = {first} is zero, or too small for {precision} to hold; "
            "at t = {last} it is {last_value}."
        ),
        "heat_cut": _(
            "At step {step} the gradient at t = {last} is {last_value}; it is cut off after at most {steps} "
            "time steps, so none arrives at t = {first}."
        ),
        "heat_cut_each": _("The gradient is cut off after at most so many time steps: {list}."),
        "heat_lost": _("At step {step} the loss is no finite number, so there is no gradient of it."),
        "heat_decoder": _("The dashed line: at t = {t} the decoder goes on from where the encoder ended."),
        "heat_rows": _("Each row shows the largest of {rows} time steps."),
        "heat_ends": _("t = {first}: {first_value}   t = {last}: {last_value}"),
        "heat_cell": _("t = {t}: {value}"),
        "heat_each": _("t = {t}: {list}"),
        "heat_compared": _("Gradient at t = {first}, as a multiple of that at the last step: {list}."),
        "heat_compared_backward": _(
            "Gradient at the last step, as a multiple of that at t = {first}: {list}."
        ),
        "heat_compared_mixed": _(
            "Gradient at the step that is read first, as a multiple of that at the one read last: {list}."
        ),
        "heat_floor": _(
            "What is smaller than {precision} can hold counts as zero: below {normal} digits get lost, and "
            "{smallest} is the smallest number there is."
        ),
        "t_range": _("{from} to {to}"),
    }


def _accuracy(_: Callable[[str], str]) -> dict[str, str]:
    return {
        "accuracy_title": _("Answers that are right"),
        "accuracy_axis": _("↑ {label}"),
        "accuracy_goal": _("solved from {share} on"),
        "accuracy_help": _(
            "The share of right answers on sequences that the network never trains on. It can stand still "
            "for a long time while the loss already falls: an answer counts only once it is right."
        ),
        "accuracy_waiting": _("The share of right answers appears here at the first check."),
        "accuracy_none": _("This task is judged by its loss alone."),
        "accuracy_now": _("At step {step}, {label}: {share}."),
        "accuracy_best": _("The best so far: {share}."),
        "accuracy_each": _("Now, {label}: {list}."),
        "accuracy_each_own": _("Right answers now: {list}."),
    }


def _groups(_: Callable[[str], str]) -> dict[str, str]:
    return {
        "groups_title": _("Gradient norm by kind of weight"),
        "groups_axis": _("↑ gradient norm, log scale"),
        "groups_recurrent": _("recurrent weights"),
        "groups_input": _("input weights and biases"),
        "groups_output": _("output layer"),
        "groups_help": _(
            "The length of the gradient before clipping, for the weights from state to state, from input to "
            "state and from state to answer. Where the recurrent part towers above the others, clipping "
            "everything together also slows the others down."
        ),
        "groups_waiting": _("The gradient of each kind of weight appears here."),
        "groups_each": _("Largest against smallest part now: {list}."),
        "groups_pair": _("{letter} {largest}, {ratio} times {smallest}"),
        "groups_now": _(
            "At step {step} the gradient of the {largest} is the largest: {ratio} times that of the "
            "{smallest}."
        ),
    }


def _spectrum(_: Callable[[str], str]) -> dict[str, str]:
    return {
        "spectrum_title": _("Stretch per time step"),
        "spectrum_axis": _("↑ spectral radius, log scale"),
        "spectrum_sigma": _("largest singular value of the step"),
        "spectrum_one": _("1: keeps its length"),
        "spectrum_help": _(
            "The step Jacobian says how a small change of the state is carried to the next time step; its "
            "spectral radius is the stretch in the long run, its largest singular value the most that one "
            "step can do. Below 1 what came early fades, above 1 it grows; the other lines are the recurrent "
            "matrices of the gates alone."
        ),
        "spectrum_waiting": _("The stretch of each time step appears here at the first check."),
        "spectrum_unmeasured": _(
            "It is not measured for states of more than 256 numbers: it would take too long."
        ),
        "spectrum_now": _(
            "At step {step} a time step has spectral radius {radius} and stretches at most {sigma}-fold."
        ),
        "spectrum_power": _("Over {T} time steps that radius would make {power}."),
        "spectrum_encoder": _("With an encoder and a decoder: of the encoder."),
        "spectrum_each": _("Spectral radius of a time step now: {list}."),
    }


def _update(_: Callable[[str], str]) -> dict[str, str]:
    return {
        "update_title": _("Size of the updates"),
        "update_axis": _("↑ length of update / length of weights, log scale"),
        "update_ratio": _("update / weights"),
        "update_usual": _("rule of thumb: 1e-3"),
        "update_help": _(
            "How far each update moves the weights, as a share of the weights' own length. Far above 1e-3 "
            "training tends to jump, far below it crawls; it is a rule of thumb, not a law."
        ),
        "update_waiting": _("The size of each update appears here."),
        "update_now": _("The update at step {step} was {ratio} of the weights' length."),
        "update_median": _("Half of the updates shown were below {ratio}."),
        "update_each": _("Update as a share of the weights now: {list}."),
    }


def _sample(_: Callable[[str], str]) -> dict[str, str]:
    return {
        "sample_title": _("One sequence and its answer"),
        "sample_axis": _("what the network sees; time t runs to the right →"),
        "sample_help": _(
            "The first validation sequence as the network sees it, one time step after the other. The framed "
            "steps decide the answer; below them stand the truth and what the network says today."
        ),
        "sample_waiting": _("One sequence of the task appears here."),
        "sample_answer": _("Right answer: {answer}."),
        "sample_unasked": _("The network's own answer appears at the first check."),
        "sample_distance": _("The earliest step that matters lies {steps} steps before the answer."),
        "sample_mark": _("t = {t}"),
        "sample_marks": _("t = {from} to {to}"),
        "sample_truth": _("truth"),
        "sample_said": _("network"),
        "sample_said_at": _("network at step {step}"),
        "sample_at_step": _("step {step}"),
        "sample_right": _("{right} of {all} steps right"),
        "sample_off": _("off by {difference}"),
        "sample_none": _("no answer (not a finite number)"),
        "sample_good": _("right"),
        "sample_bad": _("wrong"),
        "sample_at": _("t = {t}: {value}"),
    }


def _parts(_: Callable[[str], str]) -> dict[str, str]:
    return {
        "part_choice": _("Layer that is shown: {title}"),
        "part_shown": _("Shown: {part}."),
        "part_help": _(
            "Each layer has its own picture, and so has each direction of one that reads both ways: forward "
            "from t = 1, backward from the end."
        ),
    }
