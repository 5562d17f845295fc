"""The MuseTalk engine against recorded results of the reference implementation."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="MuseTalk needs torch: pip install -r requirements-gpu.txt")

from bench.musetalk_golden import check, main

GOLDEN = (
    Path(os.environ.get("LECTERN_SHARED", Path(__file__).resolve().parents[2].parent / "shared"))
    / "musetalk"
    / "golden"
)

pytestmark = [
    pytest.mark.shared,
    pytest.mark.skipif(not GOLDEN.is_dir(), reason=f"the golden cases are missing: {GOLDEN}"),
]


def test_every_golden_case_is_met() -> None:
    cases = list(check(GOLDEN))
    assert len(cases) == 16
    assert [f"{case.name}: {case.difference}" for case in cases if not case.good] == []


def test_a_folder_with_a_wrong_case_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for entry in GOLDEN.iterdir():
        if entry.name != "blend.npz":
            (tmp_path / entry.name).symlink_to(entry)
    import json

    import numpy as np

    recorded = dict(np.load(GOLDEN / "blend.npz"))
    recorded["blend_jaw"][200, 200, 0] ^= 1
    np.savez(tmp_path / "blend.npz", **recorded)
    cases = json.loads((GOLDEN / "cases.json").read_text())
    (tmp_path / "cases.json").unlink()
    cases["audio"] = []
    cases["speech"] = str(GOLDEN / cases["speech"])
    (tmp_path / "cases.json").write_text(json.dumps(cases))
    assert main([str(tmp_path)]) == 1
    assert "blend jaw" in [line[:9] for line in capsys.readouterr().out.splitlines() if line.endswith("OFF")]
