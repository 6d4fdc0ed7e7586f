"""Which model a name means, and how it is loaded: the tiny one that ships, a folder, a hub id, or a run.

Notable: only safetensors are read, code that comes with a model runs only if the run says so, and torch is imported
only when weights are loaded. A run that trained an adapter is its base model with the adapter merged in.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from limit.core import LimitError, quick_imports, read_json
from limit.jobs.cluster import cluster_of
from limit.settings import SHIPPED, Workspace, workspace

if TYPE_CHECKING:
    import torch

TINY_MODEL = SHIPPED / "tiny" / "model"
HUB_TIMEOUT_S = 10.0

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}(/[A-Za-z0-9][\w.-]{0,95})?")
_RUN_NAME = re.compile(r"(?P<run>[0-9a-f]{12})(@(?P<checkpoint>epoch-\d+))?")

Kind = Literal["tiny", "folder", "hub", "run"]
Dtype = Literal["auto", "fp32", "bf16"]


@dataclass(frozen=True)
class ModelRef:
    """A model that can be loaded.

    `path` is a folder, or a hub id when `kind` is "hub" or the run is a bare hub model; `adapters` are folders of
    low-rank weights that belong on top of it, lowest first; `template` is the prompt template it was finetuned with,
    if any.
    """

    name: str
    kind: Kind
    path: str
    adapters: tuple[Path, ...] = ()
    run_id: str | None = None
    template: str | None = None
    trust_remote_code: bool = False

    @property
    def local(self) -> bool:
        return Path(self.path).is_dir()

    @property
    def adapter(self) -> Path | None:
        """The adapter on top, None for a model that is whole."""
        return self.adapters[-1] if self.adapters else None


def resolve_model(ws: Workspace, name: str) -> ModelRef:
    """Find what `name` means: `tiny`, a folder, a hub id, a run id, or `RUN_ID@epoch-4` for a kept checkpoint.

    A hub id is only checked for its form here; `load_model` and `load_tokenizer` say when it cannot be had.
    Raises LimitError.
    """
    if name == "tiny":
        _require_model(TINY_MODEL, "the tiny model")
        return ModelRef(name, "tiny", str(TINY_MODEL))
    found = _RUN_NAME.fullmatch(name)
    if found and (ws.run(found["run"]) / "run.json").exists():
        return _resolve_run(ws, found["run"], found["checkpoint"])
    folder = Path(name).expanduser()
    if name and _is_folder(folder):
        return _folder_ref(folder.resolve(), name)
    if folder.is_absolute() or name.startswith((".", "~")) or not _HUB_ID.fullmatch(name) or ".." in name:
        raise LimitError(f"there is no model folder {name!r}; give `tiny`, a folder, a hub id or a run id")
    if found:
        raise LimitError(
            f"there is no run {found['run']!r} in {ws.runs}; `limit study show` and the Runs page list them"
        )
    return ModelRef(name, "hub", name)


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # a name too long for any file
        return False


def require_at_hand(ref: ModelRef) -> None:
    """Raise LimitError, before a job is made, for a folder without safetensors, and for a hub model that is neither
    in the cache nor given by the hub.

    Hub models of jobs that go to a cluster are not checked here: its machines have caches and networks of their own.
    """
    if ref.local:
        if not any(Path(ref.path).glob("*.safetensors")):
            raise LimitError(
                f"model folder {ref.path!r} has no safetensors file, and only safetensors are loaded; "
                "convert it with `save_pretrained`"
            )
        return
    if cluster_of(workspace()) is not None:
        return
    from huggingface_hub import HfApi, try_to_load_from_cache

    if isinstance(try_to_load_from_cache(ref.path, "config.json"), str):
        return
    with _explained(ref):
        HfApi().model_info(ref.path, timeout=HUB_TIMEOUT_S)


def canonical_name(ws: Workspace, name: str) -> str:
    """`name` as a frozen run stores it: a folder becomes an absolute path. Raises LimitError as `resolve_model`."""
    ref = resolve_model(ws, name)
    return str(Path(name).expanduser().resolve()) if ref.kind == "folder" else name


def _resolve_run(ws: Workspace, run_id: str, checkpoint: str | None) -> ModelRef:
    run = read_json(ws.run(run_id) / "run.json")
    trusted = bool(run.get("trust_remote_code"))
    if run["kind"] == "base":
        base = resolve_model(ws, run["model"])
        return replace(base, name=run_id, kind="run", run_id=run_id, trust_remote_code=trusted)
    folder = ws.run(run_id) / "train" / checkpoint if checkpoint else ws.run(run_id) / "model"
    if not folder.is_dir():
        what = f"checkpoint {checkpoint!r}" if checkpoint else "finished model"
        raise LimitError(f"run {run_id} has no {what} yet; wait for its finetune to end or resume it")
    ref = _folder_ref(folder, run_id, base=lambda: resolve_model(ws, run["model"]))
    name = f"{run_id}@{checkpoint}" if checkpoint else run_id
    template = run["recipe"]["template"]
    return replace(ref, name=name, kind="run", run_id=run_id, template=template, trust_remote_code=trusted)


def _folder_ref(
    folder: Path, name: str, base: Callable[[], ModelRef] | None = None, above: tuple[Path, ...] = ()
) -> ModelRef:
    """A model folder, or an adapter on its base, which may be an adapter itself; `above` are those that led here."""
    if not (folder / "adapter_config.json").exists():
        _require_model(folder, f"model folder {name!r}")
        return ModelRef(name, "folder", str(folder))
    if folder in above:
        raise LimitError(f"the adapter in {folder} is its own base model; correct base_model_name_or_path there")
    below = base() if base else _base_of_adapter(folder, (*above, folder))
    return ModelRef(name, "folder", below.path, adapters=(*below.adapters, folder))


def _base_of_adapter(folder: Path, above: tuple[Path, ...]) -> ModelRef:
    """What an adapter's own settings name as its base: another adapter's folder, a model folder or a hub id."""
    name = str(read_json(folder / "adapter_config.json").get("base_model_name_or_path") or "")
    if not name:
        raise LimitError(f"the adapter in {folder} does not name its base model")
    if (Path(name) / "adapter_config.json").exists():
        return _folder_ref(Path(name).resolve(), name, above=above)
    return ModelRef(name, "folder" if Path(name).is_dir() else "hub", name)


def _require_model(folder: Path, what: str) -> None:
    if not (folder / "config.json").exists():
        raise LimitError(f"{what} ({folder}) holds no config.json; give a folder that `save_pretrained` wrote")


def load_tokenizer(ref: ModelRef) -> Any:
    """The tokenizer of a model (transformers' PreTrainedTokenizerBase). Raises LimitError."""
    with quick_imports():
        from transformers import AutoTokenizer

    folder = ref.adapter if ref.adapter and (ref.adapter / "tokenizer_config.json").exists() else ref.path
    with _explained(ref):
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=ref.trust_remote_code)
    if len(tokenizer) <= len(tokenizer.all_special_ids):  # transformers makes an empty one where its files are gone
        raise LimitError(f"model {ref.name!r} has no tokenizer in {folder}; put its tokenizer files beside the weights")
    return tokenizer


def load_model(ref: ModelRef, dtype: Dtype = "auto", device: str | None = None, **options: Any) -> Any:
    """The causal language model in evaluation mode on `device` (default: the first GPU, else the CPU).

    `dtype` "auto" is bf16 on a GPU and fp32 on a CPU. `options` go to `from_pretrained`. Raises LimitError.
    """
    with quick_imports():
        import torch
        from transformers import AutoConfig, AutoModelForCausalLM

    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    options.setdefault("dtype", torch_dtype(dtype, device))
    with _explained(ref):
        config = AutoConfig.from_pretrained(ref.path, trust_remote_code=ref.trust_remote_code)
        if getattr(config, "is_encoder_decoder", False):  # some would load, without their encoder
            raise LimitError(_not_causal(ref))
        model = AutoModelForCausalLM.from_pretrained(
            ref.path, trust_remote_code=ref.trust_remote_code, use_safetensors=True, **options
        )
        for adapter in ref.adapters:
            from peft import PeftModel

            model = PeftModel.from_pretrained(model, str(adapter)).merge_and_unload()
            model.requires_grad_(True)  # merging leaves the base frozen, as it was under the adapter
    placed: Any = model.eval()
    return placed.to(device)


def torch_dtype(dtype: Dtype, device: str) -> torch.dtype:
    """The torch type behind "auto", "fp32" or "bf16" on a device."""
    import torch

    if dtype == "auto":
        dtype = "bf16" if device.startswith("cuda") and torch.cuda.is_bf16_supported(False) else "fp32"
    return torch.bfloat16 if dtype == "bf16" else torch.float32


class _explained:
    """Turn transformers' many ways of not finding a model into one LimitError sentence."""

    def __init__(self, ref: ModelRef) -> None:
        self.ref = ref

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        # Reading a model runs much foreign code, which raises whatever it likes; running out of memory stays itself.
        memory = isinstance(error, MemoryError) or "OutOfMemory" in type(error).__name__
        if isinstance(error, Exception) and not isinstance(error, LimitError) and not memory:
            raise LimitError(_sentence(self.ref, error)) from error


def _not_causal(ref: ModelRef) -> str:
    return f"model {ref.path!r} is no causal language model; give one that continues text, such as Llama or MPT"


def _sentence(ref: ModelRef, error: BaseException) -> str:
    text = " ".join(str(error).split())
    if "trust_remote_code" in text:
        return f"model {ref.path!r} brings code of its own; allow it for this model with --trust-remote-code"
    if "Unrecognized configuration class" in text:
        return _not_causal(ref)
    if "gated" in text.lower():
        return f"model {ref.path!r} is gated; accept its terms on the hub and set HF_TOKEN"
    if "safetensors" in text and not isinstance(error, ImportError):
        return f"model {ref.path!r} has no readable safetensors file; only safetensors are loaded ({text[:160]})"
    if not ref.local:
        return (
            f"model {ref.path!r} is neither a folder nor in the hub cache, and the hub does not give it "
            f"(unknown name, no network or no access); give a folder or `tiny`"
        )
    return f"model {ref.path!r} cannot be loaded: {text[:300]}"
