"""The units for systemd, checked by systemd itself."""

import pathlib
import shutil
import subprocess

from tests.conftest import unavailable

ROOT = pathlib.Path(__file__).parents[3]


def test_the_units_are_valid(tmp_path):
    if not shutil.which("systemd-analyze"):
        unavailable("systemd-analyze from the package systemd")
    # The program is in this checkout, not in the folder that the units name as an example.
    (tmp_path / "venv" / "bin").mkdir(parents=True)
    (tmp_path / "venv" / "bin" / "segpipe").touch(mode=0o755)
    units = []
    for path in sorted((ROOT / "configs" / "systemd").iterdir()):
        text = path.read_text()
        assert "/srv/segpipe" in text or path.suffix == ".timer"
        text = text.replace("/srv/segpipe/.venv", str(tmp_path / "venv")).replace("/srv/segpipe", str(ROOT))
        unit = tmp_path / path.name.replace("@", "@brain_mri")
        unit.write_text(text)
        units.append(unit)
    assert [unit.suffix for unit in units] == [".service", ".timer"]
    command = ["systemd-analyze", "verify", "--man=no", *map(str, units)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    about_ours = [line for line in result.stderr.splitlines() if "segpipe" in line]
    assert (result.returncode, about_ours) == (0, []), result.stderr
