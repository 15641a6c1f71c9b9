# Every target sets up what it needs: a virtual environment in .venv with the tested versions of constraints.txt. The demo
# and the Hub need the product alone, the tests every extra and the tools.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ROOMS := hub_datasets modeling trainers evaluation model_cards tests
# More than two threads a process only gets in the way of the other processes on a small machine.
export OMP_NUM_THREADS ?= 2
# Threads that wait by spinning take the processor from the others: on a busy machine a training took four times as long.
export OMP_WAIT_POLICY ?= PASSIVE
export TOKENIZERS_PARALLELISM ?= false

.PHONY: install demo hub docs test test-slow test-avx2 test-sse lint format clean

PIP_INSTALL = $(BIN)/pip install --disable-pip-version-check --quiet --constraint constraints.txt --editable

install: $(VENV)/.installed

$(VENV)/.product: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP_INSTALL) '.[demo]'
	touch $@

$(VENV)/.installed: $(VENV)/.product
	$(PIP_INSTALL) '.[dev]'
	touch $@

demo: $(VENV)/.product
	$(BIN)/python medpairs.py demo

# A Hub on this machine with small stand-ins for the models that the README names.
hub: $(VENV)/.product
	$(BIN)/python medpairs.py hub

# The pages of docs/ as a site in outputs/site; a link that leads nowhere is an error.
docs: install
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

# What a contributor runs while thinking: some minutes on two cores. A file is a worker's, as its fixtures are made once.
test: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow" $(TESTS)

# The rest: every case of what `make test` has one of, kills, several processes, measured memory, the README's commands.
# In the order of tests/conftest.py: xdist would begin the longest file last, because it has few tests.
test-slow: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m slow $(TESTS)

# The models and trainers once more as on an older x86 processor, and with MKL as it is: the last bits are others there.
# Without the slow ones, which are more cases of the same arithmetic, kills and processes.
ELSEWHERE = OMP_NUM_THREADS=1 MKL_CBWR= $(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow" \
	$(or $(TESTS),tests/modeling tests/trainers)

test-avx2: install
	ATEN_CPU_CAPABILITY=avx2 MKL_ENABLE_INSTRUCTIONS=AVX2 $(ELSEWHERE)

test-sse: install
	ATEN_CPU_CAPABILITY=default MKL_ENABLE_INSTRUCTIONS=SSE4_2 $(ELSEWHERE)

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Never what a command wrote: data, checkpoints, outputs and results are yours to delete.
clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .ruff_cache
	find $(ROOMS) -name __pycache__ -type d -prune -exec rm -rf {} +
