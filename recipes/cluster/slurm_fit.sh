#!/usr/bin/env bash
# Train a recipe under SLURM, in pieces that fit the queue's time limit. The tasks of the array run one after another, and each
# goes on with the last step of the one before; those that follow the last update end at once.
#   sbatch --nodes=2 recipes/cluster/slurm_fit.sh recipes/hifigan_prematch.yaml --data.shards /scratch/shards
# What follows the recipe goes to `vocolab fit`. Prepare the shards first (slurm_prepare.sh): otherwise the GPUs wait for it.
#SBATCH --job-name=fit
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=4
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --array=1-8%1
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=%x-%A.log
# One task a GPU. --requeue: a job that must make room is stopped by SIGTERM, which saves the last step, and starts again.
set -eo pipefail
recipe=${1:?name a recipe}
shift
RUN=${RUN:-runs/$(basename "$recipe" .yaml)}  # the folder of the run
TRAINER=${TRAINER:-configs/trainer/ddp.yaml}  # accelerator, strategy, precision
MAX_TIME=${MAX_TIME:-00:23:30:00}             # DD:HH:MM:SS, less than --time: validating and saving take some of it

resume=()
if [ -e "$RUN/checkpoints/last.ckpt" ]; then resume=(--ckpt_path last); fi

srun --cpus-per-task="${SLURM_CPUS_PER_TASK:-1}" vocolab fit \
  -c "$recipe" --trainer "$TRAINER" --trainer.devices "$SLURM_NTASKS_PER_NODE" --trainer.num_nodes "$SLURM_NNODES" \
  --trainer.max_time "$MAX_TIME" --trainer.default_root_dir "$RUN" "${resume[@]}" "$@"
