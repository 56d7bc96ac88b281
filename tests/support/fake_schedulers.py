"""Stand-ins for the commands of Slurm, SkyPilot and Kubernetes: one job that goes through steps.

Each look at the job is one step: its state; `silent`, no answer; `end STATE [CODE] [made]`, after
which it is no longer active, where it says `made` with the artifact made. The last step stays. With
the files `refuses` (its text), `down` and `lost` a submission is refused, not answered, or taken
without an answer.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

_SILENT = "Unable to contact slurm controller (connect failure)"
_NEXT = """step=$(head -n1 "$F/steps"); [ "$(wc -l < "$F/steps")" -gt 1 ] && sed -i 1d "$F/steps"
"""
_NOTE = 'printf "%s\\n" "$*" >> "$F/said"\n'
_SLURM = {
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
{_NEXT}read -r word state code made <<< "$step"
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


_SKY = {
    "sky": f"""{_NOTE}
silent() {{ echo "ConnectionError: Could not connect to SkyPilot API server" >&2; exit 1; }}
case "$2" in
launch)
    printf '%s\\n' "$@" > "$F/arguments"
    if [ -e "$F/refuses" ]; then cat "$F/refuses" >&2; exit 1; fi
    if [ -e "$F/down" ]; then rm "$F/down"; silent; fi
    for word in "$@"; do case $word in --name=*) name=${{word#*=}};; esac; done
    echo $((100 + $(wc -l < "$F/submitted"))) "$name" PENDING > "$F/job"
    cat "$F/job" >> "$F/submitted"
    rm -f "$F/is_over"
    if [ -e "$F/lost" ]; then rm "$F/lost"; silent; fi
    echo "Job submitted, ID: $(cut -d' ' -f1 "$F/job")";;
queue)
    [ -s "$F/job" ] || {{ echo "ClusterNotUpError: No in-progress managed jobs." >&2; exit 1; }}
    read -r number name state < "$F/job"
    if [[ "$*" == *--skip-finished* && ! -e "$F/is_over" ]]; then
        {_NEXT}
        [ "$step" != silent ] || silent
        read -r word state made <<< "$step"
        if [ "$word" = end ]; then
            touch "$F/is_over"; [ -z "$made" ] || touch "$F/made"
        else state=$word; fi
        echo "$number $name $state" > "$F/job"
    fi
    [[ "$*" != *--skip-finished* || ! -e "$F/is_over" ]] || {{ echo "[]"; exit 0; }}
    printf '\\033[32mSkyPilot API server started.\\033[0m\\n'
    printf '[{{"job_id": %s, "job_name": "%s", "status": "%s", "failure_reason": null}},
        {{"job_id": 7, "job_name": "another", "status": "RUNNING"}}]' "$number" "$name" "$state";;
logs) echo "last words of job ${{*: -1}}";;
esac
""",
}
_KUBECTL = {
    "kubectl": f"""{_NOTE}
silent() {{ echo "The connection to the server 10.0.0.1:6443 was refused" >&2; exit 1; }}
while [[ $1 == --* ]]; do shift; done
case "$1 $2" in
apply*) cat > "$F/service";;
create*)
    if [ -e "$F/refuses" ]; then cat "$F/refuses" >&2; exit 1; fi
    if [ -e "$F/down" ]; then rm "$F/down"; silent; fi
    if [ -s "$F/job" ]; then
        echo 'Error from server (AlreadyExists): jobs.batch "x" already exists' >&2; exit 1
    fi
    cat > "$F/manifest"; echo "$*" >> "$F/submitted"; echo there > "$F/job"; rm -f "$F/status"
    if [ -e "$F/lost" ]; then rm "$F/lost"; silent; fi;;
"delete job") rm -f "$F/job"; [ ! -e "$F/job" ] || silent;;
"get job")
    [ -s "$F/job" ] || exit 0
    if [ ! -e "$F/status" ]; then
        {_NEXT}
        case "$step" in
        silent) silent;;
        Running) step='"ready": 1, "active": 1';;
        Pending) step='"ready": 0, "active": 1';;
        "end Complete made") step='"conditions": [{{"type": "Complete", "status": "True"}}]'
            touch "$F/made"; echo "$step" > "$F/status";;
        end*) step='"type": "Failed", "status": "True", "reason": "'${{step#end }}'"'
            step="\\"conditions\\": [{{$step}}]"
            echo "$step" > "$F/status";;
        esac
    else step=$(cat "$F/status"); fi
    printf '{{"metadata": {{}}, "spec": {{"completions": 1}}, "status": {{%s}}}}' "$step";;
"get pods") cat "$F/pods" 2> /dev/null || echo '{{"items": []}}';;
logs*) echo "last words of pod $2";;
esac
""",
}


class FakeScheduler:
    """Its commands lie in `folder / "bin"`, which goes before all others in PATH."""

    commands: Mapping[str, str]

    def __init__(self, folder: Path, steps: Sequence[str]) -> None:
        self.folder = folder
        (folder / "bin").mkdir(parents=True)
        for name, text in self.commands.items():
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


class FakeSlurm(FakeScheduler):
    commands = _SLURM


class FakeSky(FakeScheduler):
    commands = _SKY


class FakeKubernetes(FakeScheduler):
    commands = _KUBECTL
