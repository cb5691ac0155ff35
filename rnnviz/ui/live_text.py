"""The words of the live component: every sentence that the browser shows, in English, ready for translation.

The component fills the names in braces itself, because the numbers change several times a second
and no script runs between two updates. Numbers arrive already formatted (three significant digits,
`1e-9` style for gradients, two digits where the heat map holds no more).
"""

from collections.abc import Callable


def live_text(_: Callable[[str], str]) -> dict[str, str]:
    """Every template of the live component, passed through the translation function `_`."""
    return {**_header(_), **_loss(_), **_norm(_), **_heat(_)}


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
        "step_of": _("step {step} of {steps}"),
        "rate": _("{rate} steps/s"),
        "queue": _("number {position} in the queue"),
        "queue_next": _("next in the queue"),
        "accuracy": _("{label}: {share}"),
        "solved": _("solved at step {step}"),
        "at_step": _("step {step}"),
        "training_step": _("training step →"),
        "help": _("What is shown here: {title}"),
        "progress": _("Training progress"),
        "nan": _("NaN"),
        "inf": _("Inf"),
        "zero": _("zero"),
    }


def _loss(_: Callable[[str], str]) -> dict[str, str]:
    return {
        "loss_title": _("Loss"),
        "loss_axis": _("↑ {label}, log scale"),
        "loss_training": _("training"),
        "loss_validation": _("validation"),
        "loss_goal": _("solved below {loss}"),
        "loss_help": _(
            "How wrong the network is: the line is the loss of each training batch before its update (the "
            "first is step 0), the dots are the loss of sequences it never trains on. The dashed line is "
            "what a network that ignores its input would reach."
        ),
        "loss_waiting": _("The loss of every training step appears here."),
        "loss_now": _("At step {step} the training loss is {loss}."),
        "loss_checked": _("Validation loss {loss}, {share} of the baseline."),
        "loss_checked_plain": _("Validation loss {loss}."),
        "loss_nan": _("The loss is not a number (NaN) from step {step} on."),
        "loss_inf": _("The loss is infinite from step {step} on."),
        "loss_gap": _("It was first not finite at step {step}."),
        "loss_solved": _("Solved at step {step}."),
    }


def _norm(_: Callable[[str], str]) -> dict[str, str]:
    return {
        "norm_title": _("Gradient norm"),
        "norm_title_largest": _("Largest gradient element"),
        "norm_axis": _("↑ gradient norm, log scale"),
        "norm_axis_largest": _("↑ largest element, log scale"),
        "norm_only": _("gradient"),
        "norm_before": _("before"),
        "norm_after": _("after"),
        "norm_threshold": _("threshold"),
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
        "norm_scope": _("Measured over: {scope}."),
        "norm_waiting": _("The size of the gradient appears here."),
        "norm_clipped": _("{share} of the steps were clipped ({clipped} of {made})."),
        "norm_never": _("No step was clipped so far."),
        "norm_now": _("At step {step} the gradient norm was {before} before clipping and {after} after."),
        "norm_now_largest": _(
            "At step {step} the largest element was {before} before clipping and {after} after."
        ),
        "norm_now_none": _("At step {step} the gradient norm was {before}. No clipping is set."),
        "norm_gap": _("The gradient was {kind} at step {step}."),
    }


def _heat(_: Callable[[str], str]) -> dict[str, str]:
    return {
        "heat_title": _("Gradient at each time step"),
        "heat_axis": _("↑ time t in the sequence (t = 1 at the bottom)"),
        "heat_help": _(
            "How strongly the loss reacts to the hidden state h at each time t of the sequence: the norm of "
            "dL/dh_t; a column is one training step and stands until the next, about ten a second. Where the "
            "lower rows turn dark, the network cannot learn from what came early."
        ),
        "heat_scale": _("norm of dL/dh_t"),
        "heat_waiting": _("The gradient at each time step appears here, one column at a time."),
        "heat_zero": _("zero or underflow"),
        "heat_ratio": _("At step {step} the gradient at t = {first} is {ratio} of that at t = {last}."),
        "heat_pair": _(
            "At step {step} the gradient is {first_value} at t = {first} and {last_value} at t = {last}."
        ),
        "heat_vanished": _(
            "At step {step} the gradient at t = {first} is zero, or too small for {precision} to hold; "
            "at t = {last} it is {last_value}."
        ),
        "heat_rows": _("Each row shows the largest of {rows} time steps."),
        "heat_ends": _("t = {first}: {first_value}   t = {last}: {last_value}"),
        "heat_cell": _("t = {t}: {value}"),
        "t_range": _("{from} to {to}"),
    }
