# Each target sets up what it needs: Python 3.10 or newer and make are enough.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: help train train-ptb train-better test lint bench clean

help:
	@echo 'make train         a first language model, in about a minute, without a download'
	@echo 'make train-ptb     the LSTM of chapter 6 on the Penn Treebank, some seven minutes'
	@echo 'make train-better  the improved LSTM of chapter 6, 40 epochs, many hours'
	@echo 'make test          lint and all quick tests'
	@echo 'make bench         speed against one layer object per time step'

# A stamp for each set of extras, renewed when the requirements change.
.venv/installed%: setup.cfg pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.$(patsubst -%,[%],$*)'
	@touch $@

train: .venv/installed-download
	$(BIN)/python -m ch_lstm.train

train-ptb: .venv/installed-download
	$(BIN)/python -m ch_lstm.train --recipe chapter6

train-better: .venv/installed-download
	$(BIN)/python -m ch_lstm.train --recipe better

lint: .venv/installed-dev
	$(BIN)/python -m ruff check .

test: lint
	$(BIN)/python -m pytest

bench: .venv/installed-dev
	$(BIN)/python tests/benchmarks/per_step.py

clean:
	rm -rf .venv build *.egg-info .pytest_cache .ruff_cache .hypothesis
