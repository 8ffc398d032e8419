"""Every notebook runs from top to bottom, imports what is public, and is kept without outputs."""

import ast
import importlib
from pathlib import Path

import nbformat
import pytest
from jupyter_client import KernelManager
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parent.parent / "notebooks").glob("*.ipynb"))
each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)

# What stands in for the cell tagged `parameters`.
SMALL = {
    "01_analog_vmm": {"trials": 10, "chips": 2},
    "02_spiking_neurons": {"neurons": 48, "trials": 20},
    "03_partitioning": {"samples": 10},
    "04_in_the_loop": {"chips": 2, "epochs": 3, "epochs_in_loop": 2},
    "05_your_own_chip": {"runs": 30, "samples": 100},
    "06_your_own_code": {"chips": 2, "steps": 40},
    "07_yin_yang": {"epochs": 1, "epochs_in_loop": 1, "resolution": 40, "seed": 1},
    "08_soft_lif": {"epochs": 6, "steps": 60},
    "09_backplane": {"neurons": 128, "samples": 10},
    "10_firing_patterns": {"neurons": 20},
    "11_synapses": {"pairs": 20, "synapses": 10},
    "12_schedule_heat_wear": {"name": '"edges"', "tiles": 4, "steps": 10},
    "13_plasticity": {"neurons": 16, "periods": 6, "epochs": 6},
    "14_dendrites": {"neurons": 32, "kicks": 81},
    "15_gradients": {"epochs": 1, "hidden": 10},
    "16_deep_networks": {"depth": 6, "epochs": 2},
}

# In every run the one of synapses with neurons. The others train longer, or pass what tests of the
# library and the command line pass too; what they import and set is looked at in every run.
EVERY = ("11_synapses",)


@pytest.fixture(scope="module")
def kernel(tmp_path_factory):
    """One kernel for all notebooks: imports and chips are compiled once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MPLBACKEND", "agg")
        manager = KernelManager(kernel_name="python3")
        manager.start_kernel(cwd=str(tmp_path_factory.mktemp("notebooks")))
    yield manager
    manager.shutdown_kernel(now=True)


def parameters_of(notebook):
    """The cell that says how large a notebook's experiment is."""
    (cell,) = (cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", ()))
    return cell


@each_notebook
def test_notebook_sets_what_its_small_sizes_set(path):
    source = parameters_of(nbformat.read(path, as_version=4)).source
    names = {node.id for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Name)}
    assert names == set(SMALL[path.stem])


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, id=path.stem, marks=[pytest.mark.slow] * (path.stem not in EVERY))
        for path in NOTEBOOKS
    ],
)
def test_notebook_runs_at_small_sizes(path, kernel):
    notebook = nbformat.read(path, as_version=4)
    parameters = parameters_of(notebook)
    parameters.source = "\n".join(f"{name} = {value}" for name, value in SMALL[path.stem].items())
    notebook.cells.insert(0, nbformat.v4.new_code_cell("%reset -f"))
    client = NotebookClient(notebook, timeout=300, km=kernel)
    client.execute(cleanup_kc=False)
    client.kc.stop_channels()


@each_notebook
def test_notebook_is_kept_without_outputs(path):
    cells = nbformat.read(path, as_version=4).cells
    assert all(not cell.get("outputs") and not cell.get("execution_count") for cell in cells)


@each_notebook
def test_notebook_imports_what_is_public(path):
    """From `bss2jax` and the modules right below it, names without an underscore in front."""
    imported = list(imports(path))
    assert imported
    for module, name in imported:
        assert module.count(".") <= 1 and "._" not in f".{module}", module
        found = importlib.import_module(module)
        if name is not None:
            public = getattr(found, "__all__", [n for n in dir(found) if not n.startswith("_")])
            below = f"{module}.{name}" in PUBLIC_MODULES
            assert name in public or below, f"from {module} import {name}"


PUBLIC_MODULES = [
    f"bss2jax.{name}"
    for name in (
        *("calibration", "config", "data", "experiment", "networks", "nnx", "plot"),
        "systems",
    )
]


def imports(path):
    """Each import of ours in a notebook: (module, name), name None for a module as a whole."""
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "code" and "bss2jax" in cell.source:
            lines = [line for line in cell.source.splitlines() if not line.startswith("%")]
            for node in ast.walk(ast.parse("\n".join(lines))):
                if isinstance(node, ast.Import):
                    yield from ((a.name, None) for a in node.names if a.name[:7] == "bss2jax")
                elif isinstance(node, ast.ImportFrom) and node.module[:7] == "bss2jax":
                    yield from ((node.module, a.name) for a in node.names)
