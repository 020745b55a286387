"""`make fuzz`: every reader of foreign bytes under atheris, which learns from coverage where the next byte leads.

    python -m tests.fuzz.guided --seconds 600 [READER…]

The seconds are shared by the readers, each in a process of its own that may use one gigabyte and ten seconds a case.
What breaks a reader is left in `.fuzz/`, to be made a case of its test. Without atheris nothing is tried, and that is
told.
"""

from __future__ import annotations

import argparse
import importlib.util
import subprocess
import sys
import tempfile
from pathlib import Path

FOUND = Path(".fuzz")
NOT_TRIED = 3


def main() -> int:
    parser = argparse.ArgumentParser(prog="fuzz", description="Readers of foreign bytes, guided by coverage.")
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("readers", nargs="*")
    chosen, rest = parser.parse_known_args()
    if chosen.child:
        return fuzz(chosen.readers[0], rest)
    if importlib.util.find_spec("atheris") is None:
        print("*** atheris is not installed: nothing was fuzzed by coverage.", file=sys.stderr)  # noqa: T201
        return NOT_TRIED
    from tests.fuzz.readers import BY_NAME  # noqa: PLC0415 - the child loads it under atheris

    names = chosen.readers or list(BY_NAME)
    broken = [name for name in names if not _lives(name, BY_NAME[name].samples, chosen.seconds / len(names))]
    print(f"{len(names)} readers, broken: {', '.join(broken) or 'none'}")  # noqa: T201
    return 1 if broken else 0


def _lives(name: str, samples: tuple[bytes, ...], seconds: float) -> bool:
    """Fuzz one reader in a process of its own."""
    FOUND.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as corpus:
        for number, sample in enumerate(samples):
            Path(corpus, str(number)).write_bytes(sample)
        limits = [f"-max_total_time={max(1, int(seconds))}", "-timeout=10", "-rss_limit_mb=1024", "-max_len=20000"]
        line = [sys.executable, "-m", "tests.fuzz.guided", "--child", name, *limits]
        ended = subprocess.run(
            [*line, f"-artifact_prefix={FOUND}/{name}-", "-verbosity=0", "-print_final_stats=1", corpus],
            check=False,
            capture_output=True,
            text=True,
            errors="replace",
        )
    units = [text.split()[-1] for text in ended.stderr.splitlines() if "number_of_executed_units" in text]
    print(f"{name:14} {units[0] if units else '?':>10} cases, {'sound' if not ended.returncode else 'BROKEN'}")  # noqa: T201
    if ended.returncode:
        print(ended.stderr[-3000:], file=sys.stderr)  # noqa: T201
    return not ended.returncode


def fuzz(name: str, arguments: list[str]) -> int:
    """Give one reader what atheris thinks of, until the time is over."""
    import atheris  # type: ignore[import-not-found,import-untyped,unused-ignore]  # noqa: PLC0415 - of `make fuzz` alone

    with atheris.instrument_imports(include=["rfbulk"]):
        from tests.fuzz.readers import BY_NAME  # noqa: PLC0415 - loaded under its eyes

    reader = BY_NAME[name]
    atheris.Setup([sys.argv[0], *arguments], lambda data: reader.take(data) and None)
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
