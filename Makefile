PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test lint pytest docs clean

# One environment. Each stamp adds what its targets need, again when the dependencies change.
$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/.docs $(VENV)/.dev: $(VENV)/.%: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --editable ".[$*]"
	touch $@

demo: $(VENV)/.installed  ## remove reflections from the example pictures, and search among them
	$(BIN)/derefl remove examples/pictures/through_glass -o outputs --compare --overwrite
	$(BIN)/derefl index examples/pictures/layers examples/pictures/search -o outputs/photos.lcdh --overwrite
	$(BIN)/derefl search outputs/photos.lcdh "a cup of coffee" -k 3 --contact-sheet outputs/search.jpg --overwrite
	@echo "Look at the before/after pictures and at search.jpg in outputs/"

test:  ## everything that has to pass
	$(MAKE) --jobs 2 lint pytest

pytest: $(VENV)/.dev
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

lint: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

docs: $(VENV)/.docs  ## the documentation site, into site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

clean:
	rm -rf $(VENV) outputs site
