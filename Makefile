# Four verbs by hand and in CI, and a demo. Each makes what it needs: `make test` on a fresh machine is enough.
PYTHON ?= python3
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: install lint types test fuzz demo clean

install: .venv/installed

lint: .venv/installed
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .

types: .venv/installed
	.venv/bin/mypy

test: .venv/installed
	bash tests/install_system_packages.sh
	sh tests/install_browser.sh
	PYTHON=.venv/bin/python bash tests/install_tensorrt_builder.sh
	.venv/bin/python -m pytest

fuzz: .venv/installed
	.venv/bin/python -m pip install --quiet --editable '.[fuzz]'
	.venv/bin/python tests/fuzz/run.py

demo: .venv-edge/installed
	.venv-edge/bin/edge-lupi listen --task speaker --input examples/two_voices.flac
	.venv-edge/bin/edge-lupi listen --task speaker --input examples/two_voices.flac --json 2>/dev/null \
	  | .venv-edge/bin/python examples/agreement.py examples/two_voices.rttm --least 0.9

.venv/installed: pyproject.toml
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --upgrade pip
	.venv/bin/python -m pip install --quiet --editable '.[train,video,dev]'
	touch $@

.venv-edge/installed: pyproject.toml $(shell find edge_lupi -name '*.py' -o -path '*.lupi/*')
	$(PYTHON) -m venv .venv-edge
	.venv-edge/bin/python -m pip install --quiet .
	touch $@

clean:
	rm -rf .venv .venv-edge .tensorrt_builder build *.egg-info .mypy_cache .ruff_cache .pytest_cache
