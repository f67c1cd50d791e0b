"""A process of `launch` on its own: it does not outlive its parent, whatever it is at."""

import json
import subprocess
import sys
import time
from pathlib import Path

from torch.distributed import TCPStore  # type: ignore[attr-defined]

from marginface.training.launch import HOST, _environment
from tests.training.tiny import tiny_config

PATIENCE_S = 300

# A process that goes on to wait would do so for longer than any test.
WORKER = """import sys
from pathlib import Path
from marginface.training import worker
worker.PATIENCE_S = 1e6
sys.exit(worker.main(Path(sys.argv[1])))"""


def test_a_process_that_still_waits_for_others_ends_with_its_parent(tmp_path: Path) -> None:
    told = {"config": tiny_config(tmp_path / "absent.pack").to_dict(), "run_dir": str(tmp_path)}
    task = tmp_path / "task.json"
    task.write_text(json.dumps(told | {"resume": True, "is_quiet": True, "is_debug": False}))
    store = TCPStore(HOST, 0, is_master=True, wait_for_workers=False)
    before = store.num_keys()
    with subprocess.Popen(
        [sys.executable, "-c", WORKER, str(task)],
        env=_environment(0, 2, store.port),
        stdin=subprocess.PIPE,
    ) as child:
        try:
            deadline = time.monotonic() + PATIENCE_S
            while store.num_keys() == before:
                assert child.poll() is None, "it ended by itself"
                assert time.monotonic() < deadline, "it told the other one nothing"
                time.sleep(0.05)
            assert child.stdin is not None
            child.stdin.close()  # as when the parent is killed
            assert child.wait(timeout=60) == 1
        finally:
            child.kill()
