# One command for everything. Each installs what it needs into .venv first, and only when that has changed.

PYTHON ?= python3
PORT ?= 8501
TESTERS ?= 2
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check
# Debian's names first; CHROMIUM=/path/to/one names another.
CHROMIUMS := chromium chromium-browser google-chrome google-chrome-stable
FIND_CHROMIUM = for name in $(CHROMIUMS); do command -v $$name && break; done
SUDO := $(if $(filter-out 0,$(shell id -u)),sudo)

.DEFAULT_GOAL := help
.PHONY: help app test lint bench clean browser FORCE

help:
	@echo "make app    start the dashboard on http://localhost:$(PORT) (another port: make app PORT=8600)"
	@echo "make test   run all tests, those in a real browser included (about ten minutes)"
	@echo "make lint   check style, formatting and types"
	@echo "make bench  measure speed"
	@echo "make clean  remove $(VENV) and everything that was made by tools"
	@echo
	@echo "Python 3.11 or newer is needed; make app PYTHON=python3.12 chooses one."

# exec, so that Ctrl-C and signals reach the server itself.
app: $(VENV)/.installed
	@$(BIN)/python -m rnnviz prepare
	@exec $(BIN)/python -m streamlit run app.py --server.port $(PORT)

# Two processes halve the time of most tests; those in a browser keep two cores busy by themselves.
test: $(VENV)/.installed-dev browser
	@$(BIN)/python -m pytest -n $(TESTERS) -m "not browser"
	@CHROMIUM="$${CHROMIUM:-$$($(FIND_CHROMIUM))}" $(BIN)/python -m pytest -m browser

lint: $(VENV)/.installed-dev
	@$(BIN)/python -m ruff check .
	@$(BIN)/python -m ruff format --check .
	@$(BIN)/python -m mypy app.py pages rnnviz tests $(wildcard benchmarks/*.py)

bench: $(VENV)/.installed-bench
	@exec $(BIN)/python -m benchmarks

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp for each list: older than the list or than the environment means install again.
$(VENV)/.installed: requirements.txt $(VENV)/pyvenv.cfg
	@echo "Installing what rnnviz runs on into $(VENV); the first time takes some minutes."
	@$(PIP) --quiet -r requirements.txt
	@touch $@

$(VENV)/.installed-dev: requirements-dev.txt requirements.txt $(VENV)/pyvenv.cfg
	@echo "Installing what rnnviz and its tests need into $(VENV); the first time takes some minutes."
	@$(PIP) --quiet -r requirements-dev.txt
	@touch $(VENV)/.installed $@

$(VENV)/.installed-bench: requirements-bench.txt $(VENV)/.installed-dev
	@echo "Installing what the benchmarks compare with into $(VENV)."
	@$(PIP) --quiet -r requirements-bench.txt
	@touch $@

# Also made again when its Python is gone, as after an upgrade of the system. pyvenv.cfg is written before pip is
# there, so it must not stay behind when that fails.
$(VENV)/pyvenv.cfg: $(if $(wildcard $(BIN)/python),,FORCE)
	@command -v $(PYTHON) >/dev/null || \
		{ echo "rnnviz needs Python 3.11 or newer, and there is no $(PYTHON). Name one: make app PYTHON=/path/to/python"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "rnnviz needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) -V 2>&1). Name another: make app PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
		{ rm -f $@; echo "$(PYTHON) could not make a virtual environment. On Debian and Ubuntu: apt-get install python3-venv"; exit 1; }

FORCE:

browser:
	@if [ -n "$$CHROMIUM" ]; then \
		command -v "$$CHROMIUM" >/dev/null || { echo "CHROMIUM names $$CHROMIUM, which is not there."; exit 1; }; \
	elif [ -z "$$($(FIND_CHROMIUM))" ]; then \
		echo "The browser tests need chromium: installing Debian's."; \
		command -v apt-get >/dev/null && $(SUDO) apt-get update -qq && \
		$(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium && \
		command -v chromium >/dev/null || \
		{ echo "chromium could not be installed. Install it yourself, or run make test CHROMIUM=/path/to/chromium"; exit 1; }; \
	fi
