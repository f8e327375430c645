# Each target sets up what it needs: Python 3.10 or newer and make are enough.
PYTHON ?= python3
BIN := .venv/bin
# As many processes as there are cores: pytest-xdist.
ALL_CORES := -n logical --maxprocesses 8 --dist worksteal

.PHONY: help step train train-ptb train-better microscope small-model test lint check-gradients notebooks test-notebooks \
	test-browser test-fuzz docs test-oldest test-kernels test-mutations test-parity test-promises test-small-model \
	promises bench growth count-launches test-cupy test-gpu bench-gpu gpu-check clean

help:
	@echo 'make step             a tiny LSTM, one line of arithmetic a key'
	@echo 'make train            a first language model, without a download'
	@echo 'make train-ptb        the LSTM of chapter 6 on the Penn Treebank, 4 epochs'
	@echo 'make train-better     the improved LSTM of chapter 6, 40 epochs'
	@echo 'make microscope       one page that shows a trained LSTM at work: TEXT="a sentence"'
	@echo 'make small-model      train the small model that comes with the project, three minutes'
	@echo 'make test             lint and all quick tests'
	@echo 'make check-gradients  every layer against numerical derivatives'
	@echo 'make notebooks        run all notebooks and their solutions, and store the outputs'
	@echo 'make test-notebooks   every notebook from a clean start, and its exercises'
	@echo 'make docs             the documentation, as a site that needs no network'
	@echo 'make test-browser     the page of make microscope and the documentation in Chromium'
	@echo 'make test-fuzz        thousands of drawn command lines, arrays and texts: each works or gets one line'
	@echo 'make test-kernels     the quick tests and the notebooks with each kernel of OpenBLAS, on one thread and on two'
	@echo 'make test-oldest      the quick tests with the oldest versions of every package that setup.cfg allows'
	@echo 'make test-mutations   break the code one edit at a time and see the tests notice'
	@echo 'make test-promises    kills, signals, full disks, damaged files, memory: some cases of each'
	@echo 'make promises         all cases, and the page docs/promises.md from their results'
	@echo 'make test-small-model train the small model again, and compare'
	@echo 'make test-parity      every layer and optimizer against PyTorch'
	@echo 'make count-launches   what a training step makes a GPU do, counted without one'
	@echo 'make test-cupy        the names and fused functions used, against CuPy 14 (CUPY=13), without a GPU'
	@echo 'make test-gpu         the tests of both devices on a GPU, and CPU against GPU'
	@echo 'make bench-gpu        speed on a GPU'
	@echo 'make gpu-check        all that has to be tried on a GPU, in eight minutes, and a report'
	@echo 'make bench            speed and memory against PyTorch and one layer object per time step'
	@echo 'make growth           time and memory against T, N, H and V, as a picture'

# A stamp for each set of extras, renewed when the requirements change.
.venv/created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Python 3.10 or newer is needed: make PYTHON=...")'
	$(PYTHON) -m venv --clear .venv
	@touch $@

.venv/installed%: setup.cfg pyproject.toml | .venv/created
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.$(patsubst -%,[%],$*)'
	@touch $@

step: .venv/installed-download
	@$(BIN)/python -m ch_lstm.step

# One thread: products of this size gain nothing from two. TEXT goes by the environment, as it stands, since a
# sentence may hold anything that make or a shell would read.
override export TEXT := $(value TEXT)
microscope: .venv/installed-download
	OPENBLAS_NUM_THREADS=1 $(BIN)/python -m ch_lstm.microscope $${TEXT:+--text="$$TEXT"}

# One thread, as above, and so that it rounds alike.
small-model: .venv/installed-download
	OPENBLAS_NUM_THREADS=1 $(BIN)/python -m ch_lstm.small_model

train: .venv/installed-download
	$(BIN)/python -m ch_lstm.train

train-ptb: .venv/installed-download
	$(BIN)/python -m ch_lstm.train --recipe chapter6

train-better: .venv/installed-download
	$(BIN)/python -m ch_lstm.train --recipe better

lint: .venv/installed-dev
	$(BIN)/python -m ruff check .
	$(BIN)/python -m mypy

test: lint
	$(BIN)/python -m pytest $(ALL_CORES)

check-gradients: .venv/installed-dev
	$(BIN)/python -m common.gradient_check

notebooks: .venv/installed-dev,notebooks
	$(BIN)/python notebooks/execute.py

test-notebooks: .venv/installed-dev,notebooks
	$(BIN)/python -m pytest tests/notebooks

# The variable hushes advice of the theme that is not about this project.
docs: .venv/installed-dev,docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@echo 'open site/index.html'

# With Chromium and its driver on the machine; skipped, with the reason, where they are not.
test-browser: .venv/installed-dev,browser docs
	$(BIN)/python -m pytest tests/browser

# A quarter of an hour; FLAGS='--cases short' for a few cases that stay the same.
test-fuzz: .venv/installed-dev,notebooks
	$(BIN)/python -m pytest $(ALL_CORES) tests/fuzz --cases full $(FLAGS)

# Half an hour or more. FLAGS='--only training': one other kernel, and what depends on training.
test-kernels: .venv/installed-dev,notebooks
	$(BIN)/python tests/benchmarks/blas_kernels.py $(FLAGS)

# In an environment of its own; PYTHON=python3.10 for the oldest Python too.
test-oldest:
	$(PYTHON) -m venv --clear .venv-oldest
	.venv-oldest/bin/python -m pip install --quiet --disable-pip-version-check uv
	.venv-oldest/bin/uv pip install --quiet --python .venv-oldest/bin/python --resolution lowest-direct --editable '.[dev]'
	.venv-oldest/bin/python -m pytest $(ALL_CORES) -W 'ignore::DeprecationWarning'

# FLAGS='--file common/trainer.py' for one file, FLAGS='--sample 100' for some edits, others each day, FLAGS=--help.
test-mutations: .venv/installed-dev
	$(BIN)/python tests/mutations/run.py $(FLAGS)

test-parity: .venv/installed-dev,parity
	$(BIN)/python -m pytest tests/parity tests/common/files/test_safetensors.py

# What hypothesis and others in tests/ promise is among the quick tests already.
test-promises: .venv/installed-dev
	$(BIN)/python -m pytest $(ALL_CORES) tests/promises

# What make small-model writes is what comes with the project; skipped where Python's documentation is another text.
test-small-model: .venv/installed-dev
	OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest tests/small_model

# Every test with a promise, wherever it is. The page is written where tests fail too, and says so.
promises: .venv/installed-dev
	rm -f .promises.json
	$(BIN)/python -m pytest $(ALL_CORES) -m promise --cases full --promises .promises.json tests \
		$(wildcard tests/promises tests/fuzz) || true
	PYTHONPATH=tests/benchmarks $(BIN)/python tests/promises/report.py .promises.json docs/promises.md

# Installs PyTorch; with a build for CPUs in .venv already, only that is used.
bench: .venv/installed-dev,parity
	$(BIN)/python tests/benchmarks/speed.py

growth: .venv/installed-dev
	$(BIN)/python tests/benchmarks/growth.py

# What a training step makes a GPU do, counted on the stand-in for CuPy.
count-launches: .venv/installed-dev
	PYTHONPATH=tests/benchmarks $(BIN)/python tests/devices/count_launches.py

# Compares the project's use of CuPy with an installed one, without a GPU.
test-cupy: .venv/installed-dev
	$(BIN)/python -m venv --clear .venv/cupy-$(CUPY)
	.venv/cupy-$(CUPY)/bin/python -m pip install --quiet --disable-pip-version-check cupy-cuda12x==$(CUPY).* matplotlib tqdm
	PYTHONPATH=. .venv/cupy-$(CUPY)/bin/python tests/devices/check_cupy.py

CUPY ?= 14

# With CuPy in .venv (README, "On a GPU") and a GPU: the tests that run on both devices.
test-gpu: .venv/installed-dev
	$(BIN)/python -m pytest --devices cupy

bench-gpu: .venv/installed-dev
	PYTHONPATH=tests/devices:tests/benchmarks $(BIN)/python tests/benchmarks/gpu.py $(FLAGS)

# Installs nothing: PYTHON has CuPy, pytest, hypothesis, matplotlib and PyTorch. The report goes to the folder OUT;
# FLAGS is --all-tests, --seconds 300, --parts device bench.
gpu-check:
	$(PYTHON) tests/devices/gpu_check.py $(if $(OUT),--out '$(OUT)') $(FLAGS)

clean:
	rm -rf .venv .venv-oldest site build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
