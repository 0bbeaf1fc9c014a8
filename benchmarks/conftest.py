"""Which benchmarks a session runs, and what several of them say together, drawn at its end.

``pytest benchmarks/ --benchmark-only`` measures the networks. The other files are studies of the bench itself; they run
when one is named, or all of them with ``--studies``.
"""

from pathlib import Path

import pytest

_HERE = Path(__file__).parent
_OF_NETWORKS = _HERE / "test_networks.py"

_RATIOS = pytest.StashKey[dict[tuple[str, str], tuple[float, float]]]()
_INSTRUMENT = pytest.StashKey[dict[str, dict[str, float]]]()
_ISOLATION = pytest.StashKey[dict[str, dict[str, float]]]()
_STARTUP = pytest.StashKey[dict[str, dict[str, float]]]()
_BUSY = pytest.StashKey[dict[str, dict[str, float]]]()


def pytest_addoption(parser):
    parser.addoption("--studies", action="store_true", help="also run the studies of the bench itself (much longer)")


def pytest_report_header(config):
    return None if _with_studies(config) else "benchmarks: of networks; --studies adds the studies of the bench itself"


def pytest_ignore_collect(collection_path, config):
    named = {(config.invocation_params.dir / argument.partition("::")[0]).resolve() for argument in config.args}
    study = collection_path.name.startswith("test_") and collection_path != _OF_NETWORKS
    return True if study and collection_path not in named and not _with_studies(config) else None


def _with_studies(config):
    return config.getoption("--studies", default=False)  # not known where pytest was not started with this folder


@pytest.fixture
def counting_ratios(request):
    """Take (seconds, MACs) by (tool, network), for the table of ratios."""
    return request.config.stash.setdefault(_RATIOS, {})


@pytest.fixture
def instrument_ratios(request):
    """Take, for each thing that was timed, figures by name."""
    return request.config.stash.setdefault(_INSTRUMENT, {})


@pytest.fixture
def isolation_rows(request):
    """Take, for each thing that was compared, figures by name."""
    return request.config.stash.setdefault(_ISOLATION, {})


@pytest.fixture
def startup_rows(request):
    """Take, for each thing that was started, figures by name."""
    return request.config.stash.setdefault(_STARTUP, {})


@pytest.fixture
def busy_rows(request):
    """Take, for each network and tool, figures by name."""
    return request.config.stash.setdefault(_BUSY, {})


def pytest_terminal_summary(terminalreporter, config):
    _counting(terminalreporter, config.stash.get(_RATIOS, {}))
    for title, key in (
        ("other tools over ours", _INSTRUMENT),
        ("isolation", _ISOLATION),
        ("startup", _STARTUP),
        ("beside a busy process", _BUSY),
    ):
        rows = config.stash.get(key, {})
        if rows:
            terminalreporter.section(title)
        for name, figures in rows.items():
            told = ", ".join(f"{figure} {value:.4g}" for figure, value in figures.items())
            terminalreporter.write_line(f"{name}: {told}")


def _counting(terminalreporter, seen):
    names = [name for tool, name in seen if tool == "ours"]
    if not names:
        return
    terminalreporter.section("time over ours (MACs against ours)")
    terminalreporter.write_line(f"{'':24}" + "".join(f"{name:>26}" for name in names))
    for tool in dict.fromkeys(tool for tool, _ in seen):
        cells = []
        for name in names:
            seconds, macs = seen.get((tool, name), (float("nan"), float("nan")))
            ours_s, ours_macs = seen["ours", name]
            cells.append(f"{seconds / ours_s:.2f}x ({100 * (macs / ours_macs - 1):+.2f} %)")
        terminalreporter.write_line(f"{tool:24}" + "".join(f"{cell:>26}" for cell in cells))
