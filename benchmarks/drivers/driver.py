"""Runs one side of a benchmark inside its own environment: `driver.py SIDE SPEC.json`, prints one JSON line.

SIDE is a file beside this one; the spec's "do" names the function in it, which gets the spec and a stopwatch. Where
"do" is "folder.function", SIDE is a file in that folder. This file and the sides import nothing but the standard
library, the package under test and what stands in shared/. Started with -P, so that a side named after its package does
not hide it.
"""

import gc
import importlib.util
import json
import os
import resource
import sys
import time
from contextlib import contextmanager
from pathlib import Path


class Stopwatch:
    """Wall and processor seconds of what is measured; what lies outside (imports, set-up, warming up) is not."""

    def __init__(self):
        self.wall = self.cpu = 0.0

    @contextmanager
    def running(self):
        """Measure what stands under it; may be used more than once and adds up."""
        gc.collect()
        wall, cpu = time.perf_counter(), processor()
        yield
        self.wall += time.perf_counter() - wall
        self.cpu += processor() - cpu


def processor():
    """Return the processor seconds of this process and of children that it waited for."""
    both = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in both)


def main():
    """Run one side and print what it measured."""
    side, spec_file = sys.argv[1:3]
    spec = json.loads(Path(spec_file).read_text())
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a package prints goes to standard error
    sys.path.append(str(Path(__file__).with_name("shared")))
    *folder, do = spec["do"].split(".")
    where = Path(__file__).parent.joinpath(*folder, side.replace("-", "_") + ".py")
    loader = importlib.util.spec_from_file_location(f"side_{where.stem}", where)
    module = importlib.util.module_from_spec(loader)
    loader.loader.exec_module(module)
    stopwatch = Stopwatch()
    found = getattr(module, do)(spec, stopwatch)
    out.write(json.dumps({"wall": stopwatch.wall, "cpu": stopwatch.cpu, **found}) + "\n")
    out.flush()
    os._exit(0)  # a package that left threads waiting for a hung request must not keep us


if __name__ == "__main__":
    main()
