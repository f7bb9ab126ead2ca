# Four verbs by hand and in CI, and a demo. Each makes what it needs: `make test` on a fresh machine is enough.
PYTHON ?= python3
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: install lint types test edge fuzz demo dist clean

install: .venv/installed

lint: .venv/installed
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/lint-imports --no-logo --no-cache

types: .venv/installed
	.venv/bin/mypy

test: .venv/installed
	bash tests/install_system_packages.sh
	sh tests/install_browser.sh
	PYTHON=.venv/bin/python bash tests/install_tensorrt_builder.sh
	.venv/bin/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder  # a file's tests share what it makes once

# The edge part on the oldest Python that it takes, which is JetPack 6's; one line where there is none.
OLDEST ?= $(shell command -v python3.10 || ls -d $(HOME)/.pyenv/versions/3.10.*/bin/python3.10 2>/dev/null | tail -1)
edge:
	@if ! $(OLDEST) -c '' 2>/dev/null; then echo "no Python 3.10 here: the edge part is not run on it"; \
	else $(MAKE) .venv-oldest/installed && .venv-oldest/bin/python -m pytest tests/sound tests/runtime/outputs \
	  tests/runtime/listening/test_listening.py tests/test_terminal.py tests/test_words.py; fi

.venv-oldest/installed: pyproject.toml $(shell find edge_lupi -name '*.py' -o -path '*.lupi/*')
	$(OLDEST) -m venv .venv-oldest
	.venv-oldest/bin/python -m pip install --quiet . pytest
	touch $@

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

# dist/edge_lupi-VERSION-py3-none-any.whl, for `pip install` on a device that has no copy of this repository
dist:
	rm -rf dist
	$(PYTHON) -m pip wheel --quiet --no-deps --wheel-dir dist .
	ls dist

clean:
	rm -rf .venv .venv-edge .venv-oldest dist .tensorrt_builder build *.egg-info .mypy_cache .ruff_cache .pytest_cache
