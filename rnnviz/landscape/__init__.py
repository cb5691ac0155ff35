"""Loss surfaces in a notebook: of an experiment's network, or of any PyTorch module with a loss.

`surface` has the function and what it returns, `own` and `foreign` know how high it is at a point, `weights`
takes parameters in whatever form somebody has them.
"""
