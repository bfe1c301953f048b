"""Folders of models as the Hugging Face hub has them: config.json, weights in one safetensors file or several."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from chimerac.compiler.errors import UserError
from chimerac.frontends.config.locate import read
from chimerac.frontends.config.parse import parse
from chimerac.frontends.config.tree import Object, Scalar, kind
from chimerac.frontends.sources.recognised import CONFIG, is_model_folder
from chimerac.frontends.sources.safetensors import open_safetensors, unique
from chimerac.frontends.sources.tensor import StoredTensor
from chimerac.runtime.bundle_format.regular import open_input

GENERATION: Final = "generation_config.json"
SINGLE: Final = "model.safetensors"
INDEX: Final = "model.safetensors.index.json"
MAX_INDEX: Final = 1 << 24  #: bytes
MAX_SHARDS: Final = 1024


@dataclass(frozen=True)
class ModelFolder:
    """What a folder holds.

    Attributes:
        config: the tree of config.json, in which every value knows its place.
        generation: that of generation_config.json; None without one.
        tensors: by name.
    """

    path: Path
    config: Object
    generation: Object | None
    tensors: Mapping[str, StoredTensor]

    @property
    def model_type(self) -> str:
        """What the folder says that it is; raises UserError CHM231 if it does not."""
        node = self.config.get("model_type")
        if isinstance(node, Scalar) and isinstance(node.value, str):
            return node.value
        what = "has no model_type" if node is None else f"has a model_type that is {kind(node)}"
        raise UserError("CHM231", f"{self.path / CONFIG} {what}", span=self.config.span if node is None else node.span)


def open_folder(path: str | Path) -> ModelFolder:
    """Read a folder's config and the lists of its tensors; of their numbers nothing is read.

    Raises:
        UserError: CHM230, files that are missing or of which there are too many; CHM101 to CHM103, a config that is no
            JSON; CHM231, an index that is not valid; CHM232, shards that contradict it; and as ``open_safetensors``.
    """
    folder = Path(path)
    if not is_model_folder(folder):
        hint = "a model from the hub has one beside its weights"
        raise UserError("CHM230", f"{folder} is no folder of a model: it has no {CONFIG}", hint=hint)
    config = parse(read(folder / CONFIG), infinite=True)
    generation = parse(read(folder / GENERATION)) if (folder / GENERATION).is_file() else None
    return ModelFolder(folder, config, generation, _tensors(folder))


def _tensors(folder: Path) -> dict[str, StoredTensor]:
    single, index = folder / SINGLE, folder / INDEX
    if single.is_file() and index.is_file():
        hint = "remove the one that is not meant"
        raise UserError("CHM230", f"{folder} has both {SINGLE} and {INDEX}", hint=hint)
    if index.is_file():
        return _indexed(index)
    if single.is_file():
        return open_safetensors(single)
    others = sorted(p.name for p in folder.glob("*") if p.suffix in (".bin", ".pt", ".pth", ".gguf", ".safetensors"))
    hint = f"it has {', '.join(others[:3])}; " if others else ""
    hint += "give the .gguf file itself" if any(o.endswith(".gguf") for o in others) else "save it as safetensors"
    raise UserError("CHM230", f"{folder} has no weights: neither {SINGLE} nor {INDEX}", hint=hint)


def _indexed(index: Path) -> dict[str, StoredTensor]:
    """The tensors of all shards, which are those that the index names, each where it says."""
    places = _weight_map(index)
    shards = sorted(set(places.values()))
    if len(shards) > MAX_SHARDS:
        raise UserError("CHM231", f"{index} names {len(shards)} files, the most is {MAX_SHARDS}")
    missing = [shard for shard in shards if not (index.parent / shard).is_file()]
    if missing:
        message = f"{index} names {len(missing)} files that are not there: {', '.join(missing[:3])}"
        raise UserError("CHM230", message, hint="download them, too")
    found: dict[str, StoredTensor] = {}
    for shard in shards:
        for name, tensor in open_safetensors(index.parent / shard).items():
            if places.get(name) != shard:
                said = f"{index.name} says {places[name]}" if name in places else f"{index.name} does not name it"
                raise UserError("CHM232", f"{tensor.file} has {name}; {said}", hint="download the folder again")
            found[name] = tensor
    if absent := [name for name in places if name not in found]:
        message = f"{index} names {len(absent)} tensors that are not there: {absent[0]} in {places[absent[0]]}, …"
        raise UserError("CHM232", message, hint="download the folder again")
    return found


def _weight_map(index: Path) -> dict[str, str]:
    try:
        with open_input(index) as file:
            data = file.read(MAX_INDEX + 1)
        if len(data) > MAX_INDEX:
            raise UserError("CHM231", f"{index} has more than {MAX_INDEX} bytes")
        found = json.loads(data, object_pairs_hook=unique)
    except OSError as error:
        raise UserError("CHM230", f"can't read {index}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise UserError("CHM231", f"{index} is no index of safetensors files: {error}") from error
    places = found.get("weight_map") if isinstance(found, dict) else None
    if not isinstance(places, dict) or not places:
        raise UserError("CHM231", f"{index} is no index of safetensors files: it has no weight_map")
    for name, file_name in places.items():
        plain = isinstance(file_name, str) and Path(file_name).name == file_name and "\\" not in file_name
        if not plain or not file_name.endswith(".safetensors"):
            raise UserError("CHM231", f"{index}: weight_map must name files beside it, not {file_name!r} for {name}")
    return places
