"""Stand-ins for Slurm's commands: a queue of one job that goes through given steps.

Each look at the queue (`squeue`) is one step: `STATE|reason`; `silent`, no answer; `end STATE
CODE`, after which the job is gone; `end STATE CODE made`, where it made the artifact. The last one
stays.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

_SILENT = "Unable to contact slurm controller (connect failure)"
_COMMANDS = {
    "sbatch": f"""
printf '%s\\n' "$@" > "$F/arguments"; env > "$F/environment"
if [ -e "$F/refuses" ]; then cat "$F/refuses" >&2; exit 1; fi
if [ -e "$F/down" ]; then rm "$F/down"; echo "sbatch: error: {_SILENT}" >&2; exit 1; fi
for word in "$@"; do case $word in --job-name=*) name=${{word#*=}};; esac; done
echo $((100 + $(wc -l < "$F/submitted"))) "$name" > "$F/job"; cat "$F/job" >> "$F/submitted"
if [ -e "$F/lost" ]; then
    rm "$F/lost"; echo "Batch job submission failed: Socket timed out on send/recv" >&2; exit 1
fi
cut -d' ' -f1 "$F/job"
""",
    "squeue": f"""
[ -s "$F/job" ] || exit 0
read -r number name < "$F/job"
case " $* " in *" --name=$name "*) ;; *) exit 0;; esac
step=$(head -n1 "$F/steps"); [ "$(wc -l < "$F/steps")" -gt 1 ] && sed -i 1d "$F/steps"
read -r word state code made <<< "$step"
case $word in
silent) echo "slurm_load_jobs error: {_SILENT}" >&2; exit 1;;
end) : > "$F/job"; echo "JobId=$number JobState=$state Reason=None ExitCode=$code" > "$F/ended"
    [ -z "$made" ] || touch "$F/made";;
*) echo "$number|$step";;
esac
""",
    "scontrol": """
echo "scontrol $*" >> "$F/said"
[ "$1" = show ] || exit 0
[ -e "$F/ended" ] || { echo "slurm_load_jobs error: Invalid job id specified" >&2; exit 1; }
cat "$F/ended"
""",
    "sacct": """
[ -e "$F/accounting" ] || { echo "Slurm accounting storage is disabled" >&2; exit 1; }
cat "$F/accounting"
""",
    "scancel": 'echo "scancel $*" >> "$F/said"\n',
}


class FakeSlurm:
    """Its commands lie in `folder / "bin"`, which goes before all others in PATH."""

    def __init__(self, folder: Path, steps: Sequence[str]) -> None:
        self.folder = folder
        (folder / "bin").mkdir(parents=True)
        for name, text in _COMMANDS.items():
            script = folder / "bin" / name
            script.write_text(f"#!/bin/bash\nF={folder}\n{text}")
            script.chmod(0o755)
        (folder / "submitted").touch()
        self.plan(*steps)

    @property
    def path(self) -> str:
        return f"{self.folder / 'bin'}:{os.environ['PATH']}"

    def plan(self, *steps: str) -> None:
        (self.folder / "steps").write_text("".join(f"{step}\n" for step in steps))

    def lines(self, name: str) -> list[str]:
        file = self.folder / name
        return file.read_text().splitlines() if file.exists() else []

    def has_made(self) -> bool:
        return (self.folder / "made").exists()
