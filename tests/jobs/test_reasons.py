"""Reasons, not codes: each recognised from what the library in question really prints."""

from __future__ import annotations

import pytest

from limit.jobs.reasons import explain

TRACE = ["Traceback (most recent call last):", '  File "x.py", line 1, in <module>']


@pytest.mark.parametrize(
    ("line", "cause"),
    [
        ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has ...", "gpu-memory"),
        ("RuntimeError: CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`", "gpu-memory"),
        ("OSError: [Errno 28] No space left on device: '/w/model.safetensors'", "disk-full"),
        ("RuntimeError: [enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory: you "
         "tried to allocate 8 bytes. Error code 12 (Cannot allocate memory)", "host-memory"),
        ("MemoryError", "host-memory"),
        ("FloatingPointError: loss is nan at step 12", "nan-loss"),
        ("ValueError: the loss became NaN in step 3", "nan-loss"),
        ("OSError: nowhere/model is not a local folder and is not a valid model identifier listed on "
         "'https://huggingface.co/models'", "missing-model"),
        ("OSError: We couldn't connect to 'https://huggingface.co' to load the files, and couldn't find them in the "
         "cached files.", "no-network"),
        ("requests.exceptions.ConnectionError: HTTPSConnectionPool(host='huggingface.co', port=443): Max retries "
         "exceeded (Caused by NameResolutionError: Temporary failure in name resolution)", "no-network"),
        ("huggingface_hub.errors.GatedRepoError: 401 Client Error.", "no-access"),
        ("json.decoder.JSONDecodeError: Expecting value: line 7 column 1 (char 90)", "bad-data"),
        ("RuntimeError: NCCL error in: ../torch/csrc/distributed/c10d/NCCLUtils.hpp:275, unhandled cuda error",
         "gpu-error"),
        ("PermissionError: [Errno 13] Permission denied: '/w/x'", "no-permission"),
    ],
)  # fmt: skip
def test_library_errors_are_recognised(line: str, cause: str) -> None:
    reason = explain([*TRACE, line], 1, kernel_kill=False)
    assert reason.cause == cause
    assert reason.what_to_do


def test_the_last_error_counts_not_an_earlier_warning() -> None:
    lines = ["warning: No space left on device in /tmp, using /var/tmp", *TRACE, "ValueError: bad shape (3, 4)"]
    assert explain(lines, 1, False).text == "ValueError: bad shape (3, 4)"


def test_our_own_sentence_is_kept_word_for_word() -> None:
    reason = explain([*TRACE, "limit: disk full while writing /w/x; free some space", "other"], 2, False)
    assert (reason.cause, reason.text) == ("disk-full", "disk full while writing /w/x; free some space")


@pytest.mark.parametrize(
    ("sentence", "cause"),
    [
        ("there is no model folder '/m'; give `tiny`, a folder, a hub id or a run id", "missing-model"),
        ("model 'a/b' is neither a folder nor in the hub cache, and the hub does not give it", "missing-model"),
        ("the Hugging Face Hub cannot be reached for GAIR/lima; connect this machine and fetch again", "no-network"),
        ("the gradient norm became nan at step 3 (loss is not finite); lower learning_rate", "nan-loss"),
        ("mix 'x' is empty; add a part", "user"),
    ],
)
def test_our_own_sentences_have_their_cause(sentence: str, cause: str) -> None:
    assert explain([*TRACE, f"limit: {sentence}"], 2, False).cause == cause


def test_a_rank_of_several_is_recognised() -> None:
    lines = ["[rank1]: torch.OutOfMemoryError: CUDA out of memory.", "E1122 torchrun ChildFailedError:", "exitcode: 1"]
    assert explain(lines, 1, False).cause == "gpu-memory"


@pytest.mark.parametrize(("kernel", "cause"), [(True, "host-memory"), (False, "killed")])
def test_a_kill_is_the_kernels_when_the_kernel_counted_one(kernel: bool, cause: str) -> None:
    assert explain([], -9, kernel).cause == cause


def test_a_killed_rank_is_the_kernels_too() -> None:
    assert explain(["traceback : Signal 9 (SIGKILL) received by PID 12"], 1, True).cause == "host-memory"
    assert explain(["ValueError: x"], 1, True).text == "ValueError: x"


@pytest.mark.parametrize(("code", "cause"), [(-15, "terminated"), (-11, "crashed"), (-7, "crashed"), (3, "error")])
def test_signals_and_silence(code: int, cause: str) -> None:
    assert explain([], code, False).cause == cause
