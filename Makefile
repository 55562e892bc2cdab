# make demo   two simulated GB10 hosts, from bare to a proven answer
# make test   the lab included     make test-long   arm64, the real server, many hosts
# make check  the fast tier
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PARTS := part-decisions part-programs part-lab part-rest

.PHONY: demo test test-long check $(PARTS) lint down clean

demo: $(VENV)/ready
	$(BIN)/python -m lab demo

# The lab's tests run in processes of their own: pyinfra makes threads and subprocesses of its own
# process cooperative, which the lab's servers and locks are not made for. Each has its own lab.
LABS ?= 3
LAB_TESTS := $(BIN)/python -m pytest --numprocesses $(LABS) --dist loadfile tests/lab
FAST := -m "not vllm and not slow"

test: $(VENV)/ready
	$(BIN)/python -m lab.machine
	$(MAKE) --no-print-directory -j2 -O $(PARTS)
	$(BIN)/python -m pytest -m alone tests/lab
	$(LAB_TESTS) -m "not long and not alone"

test-long: $(VENV)/ready
	$(LAB_TESTS) -m long

check: $(VENV)/ready
	$(BIN)/python -m lab.machine
	$(MAKE) --no-print-directory -j4 -O $(PARTS) ONLY='$(FAST)'

# Side by side; each prints when it is done.
part-decisions:
	$(BIN)/python -m pytest $(ONLY) tests/fleet tests/vllm

part-programs:
	$(BIN)/python -m pytest $(ONLY) tests/files

part-lab:
	$(BIN)/python -m pytest $(ONLY) tests/lab_support

part-rest:
	$(BIN)/python -m pytest $(ONLY) tests/deploys tests/test_linters.py

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
