# make demo   two simulated GB10 hosts, from bare to a proven answer
# make test   the lab included     make test-long   faults in every phase, arm64, the real server
# make check  the fast tier
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test test-long check check-fleet check-rest lint down clean

demo: $(VENV)/ready
	$(BIN)/python -m lab demo

# Two processes: pyinfra makes threads and subprocesses of its own process cooperative, which the
# lab's servers and locks are not made for.
test: $(VENV)/ready
	$(BIN)/python -m pytest --ignore=tests/lab
	$(BIN)/python -m pytest -m "not long" tests/lab

test-long: $(VENV)/ready
	$(BIN)/python -m pytest -m long tests/lab

# Two halves side by side; each prints when it is done.
check: $(VENV)/ready
	$(MAKE) --no-print-directory -j2 -O check-fleet check-rest

FAST := -m "not lab and not vllm and not slow"

check-fleet:
	$(BIN)/python -m pytest $(FAST) tests/fleet

check-rest:
	$(BIN)/python -m pytest $(FAST) --ignore=tests/fleet

lint: $(VENV)/ready
	$(BIN)/python -m pytest tests/test_linters.py

down: $(VENV)/ready
	$(BIN)/python -m lab down

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(VENV)/ready: requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, found " + sys.version.split()[0])'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@
