# What people type. How it is done is in conf/setup/.
#
#   make run PYTHON=python3.13        with this Python
#   make run ARGS="--help"            ARGS goes to the server, to pytest or to the benchmark
#   make test ARGS="-k leases"
#   make fuzz EXAMPLES=1000 SEED=7    fewer than usual, and the same ones again
#   make chaos ARGS="--redis cluster --minutes 60"    three servers, and a Redis that fails over

.DEFAULT_GOAL := help
.PHONY: help setup dev system clients run test check lint coverage bench chaos fuzz interop lock clean

PYTHON ?=
export PYTHON
ARGS ?=
BIN := .venv/bin
CODE := tusd_py tests conf/setup
PYTEST := $(BIN)/python -m pytest -n 3 --dist loadgroup

help:  ## this list
	@sed -n 's/^\([a-z]*\):.*  ## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | \
	    while IFS='|' read -r what why; do printf '%-16s %s\n' "$$what" "$$why"; done

setup:  ## make .venv with all the server needs; needs only Python 3.11 or newer
	@python=$$(conf/setup/python.sh) && "$$python" conf/setup/venv.py runtime

dev:  ## add to .venv what tests, checks and builds need
	@python=$$(conf/setup/python.sh) && "$$python" conf/setup/venv.py dev

system:
	@conf/setup/system.sh

clients: system
	@conf/setup/clients.sh

run: setup  ## start the server
	@exec $(BIN)/tusd-py serve $(ARGS)

test: dev system clients  ## run every test
	$(PYTEST) $(ARGS)

check: dev  ## judge format, lint, types and the rules of the house
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/ruff check $(CODE)
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/house

lint: dev  ## repair format and what ruff can repair
	$(BIN)/ruff check --fix $(CODE)
	$(BIN)/ruff format $(CODE)

coverage: dev system clients  ## run every test and judge the branches they covered
	$(PYTEST) --cov --cov-report= $(ARGS)
	$(BIN)/coverage report --include='tusd_py/core/*,tusd_py/protocol/*' --fail-under=100
	$(BIN)/coverage report --fail-under=90

bench: dev  ## measure throughput, latency and memory
	$(BIN)/python -m tests.bench $(ARGS)

chaos: dev system  ## kill, cut and starve a running server for a long while
	$(BIN)/python -m tests.chaos $(ARGS)

fuzz: dev  ## feed every parser nonsense for a long while
	@seed=$${SEED:-$$(od -An -N4 -tu4 /dev/urandom | tr -d ' ')}; \
	FUZZ_EXAMPLES=$${EXAMPLES:-20000} HYPOTHESIS_PROFILE=long \
	    $(PYTEST) -m fuzz --timeout 7200 --hypothesis-seed $$seed $(ARGS) || \
	    { echo "the same again: make fuzz SEED=$$seed"; exit 1; }

interop: dev system clients  ## run every client library against the server, and say what was seen
	@conf/setup/system.sh interop-packages
	@conf/setup/clients.sh zoo
	$(BIN)/python -m tests.interop -n 2 -q $(ARGS)

lock:  ## pin again what pyproject.toml asks for (ARGS=--upgrade: the newest)
	conf/setup/lock.sh $(ARGS)

clean:  ## remove everything that can be made again; data/ stays
	rm -rf .venv tests/clients/node_modules tests/interop/*/target build dist htmlcov \
	    .coverage .coverage.* .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
