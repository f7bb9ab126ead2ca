# Four verbs by hand and in CI, and a demo. Each makes what it needs: `make test` on a fresh machine is enough.
PYTHON ?= python3
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: help install lint types test edge fuzz demo docs dist distcheck clean

help:  # what plain `make` does: it downloads nothing
	@echo "make demo       listen to two voices; into .venv-edge: 46 MB to download, 0.2 GB on the disk"
	@echo "make test       all tests; into .venv: torch and all that training needs, 6 GB. Likewise make install, lint, types"
	@echo "make docs       a site of the pages; make dist: wheel, sources, bill of materials; make clean: what was made goes"

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
OLDEST ?= $(shell python3.10 -c 'import sys; print(sys.executable)' 2>/dev/null || ls -d $(HOME)/.pyenv/versions/3.10.*/bin/python3.10 2>/dev/null | tail -1)
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
	@echo "into .venv: torch and all that training and the tests need, 6 GB on the disk (make demo: the edge part alone, 0.2 GB)"
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --upgrade pip
	.venv/bin/python -m pip install --quiet --editable '.[train,video,dev]'
	touch $@

.venv-edge/installed: pyproject.toml $(shell find edge_lupi -name '*.py' -o -path '*.lupi/*')
	@echo "into .venv-edge: the edge part, 46 MB to download, 0.2 GB on the disk"
	$(PYTHON) -m venv .venv-edge
	.venv-edge/bin/python -m pip install --quiet .
	touch $@

# site/index.html, which loads nothing from elsewhere; a warning is an error
docs: .venv-docs/installed
	NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build --strict --quiet
	@echo "site/index.html"

.venv-docs/installed: pyproject.toml
	$(PYTHON) -m venv .venv-docs
	.venv-docs/bin/python -m pip install --quiet --editable '.[docs]'
	touch $@

# dist/: a wheel for `pip install` on a device that has no copy of this repository, the sources, and a bill of materials of
# what the wheel brings along. `make distcheck` tries them in environments that hold nothing else.
dist: .venv-dist/installed
	rm -rf dist .venv-bill
	.venv-dist/bin/python -m build --outdir dist . >/dev/null
	.venv-dist/bin/python -m venv --without-pip .venv-bill
	.venv-dist/bin/python -m pip --python .venv-bill/bin/python install --quiet dist/*.whl
	.venv-dist/bin/cyclonedx-py environment --pyproject pyproject.toml --gather-license-texts --output-reproducible --validate \
	  --output-file $$(ls dist/*.whl | sed 's/-py3-none-any.whl/.cdx.json/') .venv-bill/bin/python
	ls -l dist

# Every Python from 3.10 on that is here, and the lowest versions allowed: a gigabyte in a temporary folder, a minute a Python.
distcheck: .venv-dist/installed
	.venv-dist/bin/python -m pytest --noconftest -m clean_venv tests/dist

.venv-dist/installed: pyproject.toml
	$(PYTHON) -m venv .venv-dist
	.venv-dist/bin/python -m pip install --quiet --upgrade 'pip>=23.1' 'build>=1.2' 'cyclonedx-bom>=7' 'pytest>=8'
	touch $@

clean:
	rm -rf .venv .venv-edge .venv-oldest .venv-docs .venv-dist .venv-bill site dist .tensorrt_builder build *.egg-info .mypy_cache .ruff_cache .pytest_cache
