"""How the tests are dealt out to the processes of `dev.py test`: the longest first, and the longest files in pieces."""

from __future__ import annotations

from typing import Any

from xdist.scheduler import LoadScopeScheduling

# Files of minutes, the longest first: each of their cases may run in any process. Of other files, all tests run in one.
IN_PIECES = ("host/test_families.py", "host/test_workflows.py")
# Files that start next, so that no process is left with one of them at the end.
LONG = (
    "host/test_controlnet.py",
    "host/test_control_lora.py",
    "host/test_norm_training.py",
    "host/test_style_palette.py",
    "host/test_lora_layouts.py",
    "host/test_controlnet_nodes.py",
)
ORDER = (*IN_PIECES, *LONG)


class LongestFirst(LoadScopeScheduling):
    """Deals out whole files, or a file in pieces: one for each value of the first parameter of its tests."""

    def _split_scope(self, nodeid: str) -> str:
        file, _, test = nodeid.partition("::")
        case = test.partition("[")[2].rstrip("]")
        if file in IN_PIECES:
            return f"{file}[{case}"
        # A page of the editor is for one renderer.
        return f"{file}[{case.partition('-')[0]}" if file.startswith("browser/") else file

    def _assign_work_unit(self, node: Any) -> None:
        first = min(self.workqueue, key=place)
        self.workqueue.move_to_end(first, last=False)
        super()._assign_work_unit(node)


def place(scope: str) -> int:
    """Where a piece or a file stands in the queue; what is alike stays in the order of the suite."""
    file = scope.partition("[")[0]
    return ORDER.index(file) if file in ORDER else len(ORDER)


def pytest_xdist_make_scheduler(config: Any, log: Any) -> LongestFirst:
    """Asked by pytest-xdist, whatever --dist says."""
    # Not by the number of tests.
    config.option.loadscopereorder = False
    return LongestFirst(config, log)
