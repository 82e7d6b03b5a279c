# The environment is one target that everything else needs; it is made once and remade when its pins change.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.PHONY: install demo test test-slow lint docs wheel bench
install: $(READY)

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[phantom,dicom,dicomweb,hdf5,onnx,ray,view,docs,dev]'
	touch $(READY)

demo: $(READY)
	$(BIN)/plurimask demo --out demo

test: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto

test-slow: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m slow --numprocesses auto

lint: $(READY)
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy

docs: $(READY)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

# The wheel without extras, in an environment of its own.
wheel:
	rm -rf build/wheel
	$(PYTHON) -m venv build/wheel
	build/wheel/bin/pip wheel --quiet --no-deps --wheel-dir build/wheel/dist .
	build/wheel/bin/pip install --quiet --constraint constraints.txt build/wheel/dist/plurimask-*.whl
	build/wheel/bin/plurimask --version
	build/wheel/bin/plurimask demo --out build/wheel/demo

bench: $(READY)
	$(BIN)/python benchmarks/run.py
