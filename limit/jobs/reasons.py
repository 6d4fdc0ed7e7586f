"""Why a worker ended, in words: from its last log lines, its exit code and the kernel's own count of kills.

The worker's own sentence (`limit: ...`, exit code 2) comes first; patterns of the libraries under it come after.
"""

from __future__ import annotations

import re
import signal
from dataclasses import dataclass
from pathlib import Path

from limit.core import Json

LAST_LINES = 80


@dataclass(frozen=True)
class Reason:
    """A cause that code can branch on, what happened, and what to change."""

    cause: str
    text: str
    what_to_do: str

    def fields(self) -> Json:
        """As they stand in a status."""
        return {"cause": self.cause, "reason": self.text, "what_to_do": self.what_to_do or None}


_OWN = re.compile(r"(?:\[rank\d+\]: ?)?(?:limit|limit\.core\.LimitError): (.+)")
_LESS_GPU = (
    "lower micro_batch_size or max_seq_len, switch activation_checkpointing on, take the recipe lora or qlora, "
    "or ask for more GPUs"
)
_LESS_HOST = "close other programs, take a smaller model, or run fewer jobs at a time"
_SPACE = "free some space (old checkpoints are the largest), then resume"

_PATTERNS: tuple[tuple[re.Pattern[str], Reason], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), Reason(cause, text, what))
    for pattern, cause, text, what in (
        (
            r"OutOfMemoryError|CUDA out of memory|CUBLAS_STATUS_ALLOC_FAILED|HIP out of memory",
            "gpu-memory",
            "out of GPU memory",
            _LESS_GPU,
        ),
        (
            r"No space left on device|Errno 28\b|disk full|Disk quota exceeded|ENOSPC|SafetensorError.*I/O error.*28",
            "disk-full",
            "disk full",
            _SPACE,
        ),
        (
            r"\bMemoryError\b|can't allocate memory|Cannot allocate memory|std::bad_alloc",
            "host-memory",
            "out of host memory",
            _LESS_HOST,
        ),
        (
            r"loss (?:is|was|became|turned|=|:)? ?(?:nan|inf)\b|"
            r"(?:nan|non-finite|infinite) loss|loss .{0,20}not finite",
            "nan-loss",
            "the loss became NaN",
            "lower the learning rate, lengthen the warm-up, or use bf16 or fp32 instead of fp16",
        ),
        (
            r"GatedRepoError|Access to model .* is restricted|401 Client Error|403 Client Error",
            "no-access",
            "the hub refuses access to the model or data set",
            "accept its licence on the hub and set HF_TOKEN, then resume",
        ),
        (
            r"Temporary failure in name resolution|Name or service not known|Failed to establish a new connection|"
            r"ConnectionError|Network is unreachable|We couldn't connect to|LocalEntryNotFoundError|"
            r"OfflineModeIsEnabled|ConnectTimeout|Max retries exceeded|cannot be reached",
            "no-network",
            "no network, or the server does not answer",
            "check the connection, or point to a local folder, then resume",
        ),
        (
            r"RepositoryNotFoundError|is not a local folder and is not a valid model identifier|"
            r"Incorrect path_or_model_id|does not appear to have a file named|is not a valid model identifier|"
            r"there is no model folder|neither a folder nor in the hub cache",
            "missing-model",
            "the model is not there",
            "check the model's name or folder, then start again",
        ),
        (
            r"JSONDecodeError|ArrowInvalid|UnicodeDecodeError|(?:bad|broken|invalid) (?:data )?row|"
            r"Expecting value: line",
            "bad-data",
            "a row of the data cannot be read",
            "the log names the row; correct the file, add the source again, then start again",
        ),
        (
            r"CUDA error|CUDA driver|NCCL (?:error|WARN)|no kernel image is available|ECC error",
            "gpu-error",
            "the GPU or its driver failed",
            "see the log; a resume on another GPU often helps",
        ),
        (
            r"Permission denied|Errno 13\b|Read-only file system",
            "no-permission",
            "a file may not be written",
            "the log names the file; change its owner or set LIMIT_HOME elsewhere",
        ),
    )
)


def explain(lines: list[str], exit_code: int | None, kernel_kill: bool, asked: bool = False) -> Reason:
    """Name why a worker ended badly. `exit_code` is negative for a signal; `asked` means that we sent it."""
    recent = lines[-LAST_LINES:]
    own = next(filter(None, map(_OWN.match, reversed(recent))), None)
    if own is not None and exit_code != -signal.SIGKILL:
        return _refine(own[1].strip())
    if exit_code is not None and exit_code < 0 and not asked:
        by_signal = _explain_signal(-exit_code, kernel_kill)
        if by_signal is not None:
            return by_signal
    if kernel_kill and re.search(r"SIGKILL|[Ss]ignal:? 9|exitcode\s*: -9|Killed", "\n".join(recent)):
        return Reason("host-memory", "out of host memory: the kernel killed a process of this job", _LESS_HOST)
    # A named exception is the reason; without one any line may hold it. Warnings before an exception do not count.
    return _match("\n".join(_last_error(recent) or recent)) or _last_resort(recent, exit_code)


def _refine(sentence: str) -> Reason:
    """The worker's sentence, word for word; its cause by the same patterns."""
    known = _match(sentence)
    return Reason(known.cause if known else "user", sentence, known.what_to_do if known else "")


def _match(text: str) -> Reason | None:
    return next((reason for pattern, reason in _PATTERNS if pattern.search(text)), None)


def _explain_signal(number: int, kernel_kill: bool) -> Reason | None:
    if number == signal.SIGKILL:
        if kernel_kill:
            return Reason("host-memory", "out of host memory: the kernel killed it", _LESS_HOST)
        return Reason(
            "killed", "killed from outside (signal 9)", "often the machine ran out of memory; resume, or take less"
        )
    if number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        name = signal.Signals(number).name
        return Reason("terminated", f"ended from outside ({name})", "resume it; it goes on from its last checkpoint")
    if number in (signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE):
        name = signal.Signals(number).name
        return Reason("crashed", f"crashed in native code ({name})", "see the log; resume once, then report it")
    return None


def _last_error(lines: list[str]) -> list[str]:
    """The last line that names an exception, and what follows it; torchrun's summary of its ranks does not count."""
    named = re.compile(r"(?:\[rank\d+\]:\s*)?[\w.]*(?:Error|Exception|Interrupt|Exit)\b(?<!ChildFailedError)")
    for index in range(len(lines) - 1, -1, -1):
        if named.match(lines[index]):
            return lines[index:]
    return []


def _last_resort(lines: list[str], exit_code: int | None) -> Reason:
    error = _last_error(lines)
    if error:
        return Reason("error", error[0][:300], "see the log")
    if exit_code is None:
        return Reason("vanished", "it ended unseen and left no result", "resume it")
    return Reason("error", f"ended with exit code {exit_code} and said nothing", "see the log")


def kernel_kills() -> int:
    """How many processes of this control group the kernel has killed for memory so far; 0 where it does not say."""
    total = 0
    for name in ("/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control"):
        try:
            text = Path(name).read_text()
        except OSError:
            continue
        total += sum(int(n) for n in re.findall(r"^oom_kill (\d+)", text, re.MULTILINE))
    try:
        found = re.search(r"^oom_kill (\d+)", Path("/proc/vmstat").read_text(), re.MULTILINE)
        total += int(found[1]) if found else 0
    except OSError:
        pass
    return total
