"""How the tests are dealt out to the processes of `dev.py test`: long files first, and at the end files in small pieces."""

from __future__ import annotations

from typing import Any

from xdist.scheduler import LoadScopeScheduling

# Files that start first, so that no process is left with one of them at the end.
LONG = (
    "host/test_control_lora.py",
    "host/test_lora_extract.py",
    "host/test_norm_swap.py",
    "host/test_lora_layouts.py",
    "host/test_diffusers.py",
    "host/test_controlnet_nodes.py",
    "host/test_lora_merge.py",
    "host/test_style_training.py",
    "host/test_norm_training.py",
)
# Files that come last, in pieces: one for each value of the first parameter of their tests, in any process.
IN_PIECES = ("host/test_workflows.py", "host/test_controlnet.py", "host/test_families.py")


class LongestFirst(LoadScopeScheduling):
    """Deals out whole files, and some in pieces. What stands alike in the queue stays in the order of the suite."""

    def _split_scope(self, nodeid: str) -> str:
        file, _, test = nodeid.partition("::")
        if file not in IN_PIECES:
            return file
        return f"{file}[{test.partition('[')[2].rstrip(']').partition('-')[0]}"

    def _assign_work_unit(self, node: Any) -> None:
        self.workqueue.move_to_end(min(self.workqueue, key=place), last=False)
        super()._assign_work_unit(node)


def place(scope: str) -> int:
    """Where a file or a piece of one stands in the queue."""
    file = scope.partition("[")[0]
    if file in LONG:
        return LONG.index(file)
    return len(LONG) + (1 + IN_PIECES.index(file) if file in IN_PIECES else 0)


def pytest_xdist_make_scheduler(config: Any, log: Any) -> LongestFirst:
    """Asked by pytest-xdist, whatever --dist says."""
    # Not by the number of tests.
    config.option.loadscopereorder = False
    return LongestFirst(config, log)
