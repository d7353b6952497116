#!/usr/bin/env bash
# Prepare the shards of a recipe under SLURM: the tasks share the work. Submitted again, it goes on where it stopped.
#   sbatch --ntasks=32 recipes/cluster/slurm_prepare.sh recipes/hifigan_prematch.yaml --data.corpus.root /data --data.shards /scratch/shards
# What follows the recipe goes to `vocolab prepare`. With a GPU for each task: sbatch --gpus-per-task=1, and WORKERS=1 before it.
#SBATCH --job-name=prepare
#SBATCH --ntasks=8
#SBATCH --cpus-per-task=4
#SBATCH --time=12:00:00
#SBATCH --output=%x-%j.log
set -eo pipefail
recipe=${1:?name a recipe}
shift
WORKERS=${WORKERS:-${SLURM_CPUS_PER_TASK:-1}}  # processes that encode, in each task

# Named again: srun does not take --cpus-per-task over from sbatch since SLURM 22.05.
srun --cpus-per-task="${SLURM_CPUS_PER_TASK:-1}" vocolab prepare -c "$recipe" --workers "$WORKERS" "$@"
