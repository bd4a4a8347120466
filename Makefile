# Commands for plugind's developers. They need only Python 3.11 or later, make and git, and wrk
# for make bench.
VENV := .venv
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := $(VENV)/bin

# If it were set, each of the many processes of the tests would compile plugind again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: run test test-long soak bench bench-all check format proto screenshots clean

run: $(VENV)/installed  ## a server, an agent and two sample drivers, until Ctrl-C
	@exec $(BIN)/python examples/run.py

test: $(VENV)/tested  ## the tests that find most faults, in minutes
	$(BIN)/pytest -n 3 --dist worksteal -m "not (soak or long or alone)"
	$(BIN)/pytest -m "alone and not (soak or long)"

test-long: $(VENV)/tested  ## the rest of the suite
	$(BIN)/pytest -n 3 --dist worksteal -m "long and not (soak or alone)"
	$(BIN)/pytest -m "long and alone and not soak"

soak: $(VENV)/tested  ## the long runs: random faults, kills at every sync, fuzzing
	$(BIN)/pytest -m soak --timeout 600

bench: $(VENV)/tested  ## measures plugind against its yardsticks: minutes, on an idle machine
	@$(BIN)/python -m benchmarks $(BENCH)

bench-all: $(VENV)/tested  ## the same, also the figures that take long, and the charts in docs/performance
	@$(BIN)/python -m benchmarks --all --pictures docs/performance $(BENCH)

check: $(VENV)/tested  ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/tested
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(VENV)/installed: setup.py setup.cfg pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -e .
	@touch $@

$(VENV)/tested: $(VENV)/installed
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[test]'
	@touch $@

proto: $(VENV)/tested  ## generates the stubs for CSI's and etcd's services and for the example again
	$(BIN)/python -m grpc_tools.protoc -I. --python_out=. --pyi_out=. --grpc_python_out=. \
		plugin_types/csi/csi.proto plugind/store/etcd/rpc.proto
	cd examples/grpc-health && $(CURDIR)/$(BIN)/python -m grpc_tools.protoc -I. --python_out=. \
		--pyi_out=. --grpc_python_out=. plugind_grpc_health/health.proto

screenshots: $(VENV)/tested  ## makes the pictures of the web page in docs/ again
	$(BIN)/python tools/screenshots.py

clean:
	rm -rf $(VENV) build dist *.egg-info
