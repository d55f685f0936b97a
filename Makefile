# Two commands: `make demo` and `make test`. Each sets up all it needs, then does its job; the second run is quick.

PYTHON ?= python3
STORE ?= demo/store
SAMPLES ?= sample_dicoms

.PHONY: demo test lint bench clean help

help:
	@echo "make demo   set up .venv, write the sample studies, read them, show the worklist and a draft"
	@echo "make test   set up .venv-test and run all tests"
	@echo "make lint   ruff and mypy (in .venv-test)"
	@echo "make bench  the benchmarks, side by side in one run"

.venv/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[cpu,demo]'
	touch $@

.venv-test/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv-test
	.venv-test/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[gpu,test]'
	touch $@

$(SAMPLES)/.written: .venv/.ready $(wildcard radpipe/samples/*.py)
	.venv/bin/radpipe samples $(SAMPLES)
	touch $@

demo: .venv/.ready $(SAMPLES)/.written
	@.venv/bin/python -m radpipe.demo --store $(STORE) --samples $(SAMPLES)

test: .venv-test/.ready
	.venv-test/bin/python -m pytest -q -n 2 --dist loadgroup

lint: .venv-test/.ready
	.venv-test/bin/ruff check .
	.venv-test/bin/ruff format --check .
	.venv-test/bin/mypy

bench: .venv-test/.ready
	.venv-test/bin/python benchmarks/pipeline_vs_bare.py

clean:
	rm -rf .venv .venv-test demo build dist
