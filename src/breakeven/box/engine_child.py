"""The process in which llama.cpp runs: ``python -m breakeven.box.engine_child``.

It reads one JSON line (`ChildConfig`) from standard input, loads the model, and reports one JSON line (`Ready` or
`Failed`) on standard output. It lives as long as its standard input stays open: when the parent dies, however it
dies, the operating system closes the pipe and the child leaves too. While the model loads no Python code runs
here, so on Linux the kernel is asked to do the same.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from typing import Any, Literal, TypeAlias

import msgspec

PR_SET_PDEATHSIG = 1
POOLING_MEAN = 1
GPU_BATCH, CPU_BATCH = 512, 128
"""Prompt tokens that are computed at once."""


class ChildConfig(msgspec.Struct, frozen=True):
    """What the engine is to load and how.

    Attributes:
        context: tokens of context of each slot.
        slots: calls served at once.
        threads: CPU threads for prefill and for decode.
        gpu_layers: layers put on the GPU; -1 for all that fit.
        kv_quantisation: how keys and values are kept, ``f16`` or ``q8_0``.
        cache_ram_mib: host memory for prompts evicted from slots.
        embeddings: serve embeddings instead of text.
        port: to listen at; 0 for any that is free.
        batch: prompt tokens computed at once; ``None`` for what suits the machine.
        pools: whether the model says how it makes one vector of a text's many; else it is their mean.
        slot_files: folder for the KV files of slots that are saved; ``None`` when slots cannot be saved.
        key: what a caller must present as ``Authorization: Bearer …``; ``None`` for nothing.
    """

    model_path: str
    alias: str
    context: int
    slots: int
    threads: int
    gpu_layers: int
    cache_ram_mib: int
    embeddings: bool
    kv_quantisation: Literal["f16", "q8_0"] = "f16"
    port: int = 0
    batch: int | None = None
    pools: bool = True
    slot_files: str | None = None
    key: str | None = None


class Ready(msgspec.Struct, frozen=True, tag="ready"):
    """The model is loaded and the HTTP listener is up at ``address``."""

    address: str


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """The engine could not start; ``missing_library`` when it is not installed or cannot be loaded."""

    cause: str
    missing_library: bool = False


Report: TypeAlias = Ready | Failed


def http_threads(slots: int) -> int:
    """HTTP threads of the engine: a stream holds one, so slots need theirs with some left for health checks."""
    return slots + 16


def main() -> None:
    """Load, report, and serve until standard input closes."""
    reports = os.dup(1)
    os.dup2(2, 1)  # whatever a native library prints goes to the log, not between the reports
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    config = msgspec.json.decode(sys.stdin.buffer.readline(), type=ChildConfig)
    try:
        server = _start(config)
    except ImportError as error:
        report: Report = Failed(str(error), missing_library=True)
    except RuntimeError as error:
        report = Failed(str(error))
    else:
        report = Ready(server.listening_address)
    os.write(reports, msgspec.json.encode(report) + b"\n")
    if isinstance(report, Ready):
        while sys.stdin.buffer.read(4096):
            continue
    os._exit(0)  # the model's memory goes back with the process; unwinding native threads could hang


def _start(config: ChildConfig) -> Any:
    import xllamacpp  # noqa: PLC0415  a platform without it gets a report, not a traceback

    params = xllamacpp.CommonParams()
    params.model.path = config.model_path
    params.model_alias = {config.alias}
    params.hostnames = ["127.0.0.1"]
    params.port = config.port
    params.ui = False
    params.api_keys = [config.key] if config.key else []
    params.use_jinja = True
    params.endpoint_slots = True
    params.endpoint_metrics = True
    params.n_threads_http = http_threads(config.slots)
    params.n_ctx = config.context * config.slots
    params.n_parallel = config.slots
    params.n_batch = params.n_ubatch = config.batch or _suitable_batch(xllamacpp, config)
    params.ctx_shift = False
    params.cpuparams.n_threads = config.threads
    params.cpuparams_batch.n_threads = config.threads
    params.n_gpu_layers = config.gpu_layers
    params.cache_ram_mib = config.cache_ram_mib
    if config.kv_quantisation == "q8_0":
        params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_Q8_0
    if config.slot_files is not None:
        params.slot_save_path = config.slot_files.rstrip("/") + "/"  # llama.cpp puts the file's name right behind it
    params.embedding = config.embeddings
    if config.embeddings:  # a text is embedded in one piece, so a batch must hold the longest
        params.n_batch = params.n_ubatch = config.context
        if not config.pools:
            params.pooling_type = POOLING_MEAN
    return xllamacpp.Server(params)


def _suitable_batch(xllamacpp: Any, config: ChildConfig) -> int:
    """An abandoned prefill ends after one or two batches: seconds on a CPU, which gains nothing from large ones."""
    kinds = xllamacpp.ggml_backend_dev_type
    on_gpu = (kinds.GGML_BACKEND_DEVICE_TYPE_GPU, kinds.GGML_BACKEND_DEVICE_TYPE_IGPU)
    has_gpu = config.gpu_layers != 0 and any(device["type"] in on_gpu for device in xllamacpp.get_device_info())
    return GPU_BATCH if has_gpu else CPU_BATCH


if __name__ == "__main__":
    main()
