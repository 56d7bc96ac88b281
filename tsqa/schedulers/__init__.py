"""Where a training runs that is not on this machine: Slurm, SkyPilot, Kubernetes."""
