#!/usr/bin/env bash
# Train a recipe on all GPUs of one machine, or of several that share a disk. The same command again goes on where it stopped.
#   bash recipes/cluster/torchrun.sh recipes/hifigan_prematch.yaml --data.corpus.root /data
# On several machines the same command on each, with their number and the address of the first before it:
#   NODES=2 MASTER=first.example.org:29500 bash recipes/cluster/torchrun.sh recipes/hifigan_prematch.yaml ...
# Two processes on a CPU: PROCESSES=2 TRAINER=configs/trainer/cpu.yaml. What follows the recipe goes to `vocolab fit`.
set -eo pipefail
recipe=${1:?name a recipe}
shift
RUN=${RUN:-runs/$(basename "$recipe" .yaml)}               # the folder of the run
TRAINER=${TRAINER:-configs/trainer/ddp.yaml}               # accelerator, strategy, precision
PROCESSES=${PROCESSES:-$(nvidia-smi --list-gpus | wc -l)}  # on each machine, one a GPU
NODES=${NODES:-1}

meet=(--standalone)
if [ "$NODES" -gt 1 ]; then
  meet=(--rdzv-backend=c10d --rdzv-endpoint="${MASTER:?give the address of the first machine, HOST:PORT}" --rdzv-id=vocolab)
fi
resume=()
if [ -e "$RUN/checkpoints/last.ckpt" ]; then resume=(--ckpt_path last); fi

# All processes prepare the shards together, then train. SIGTERM and Ctrl-C save the last step.
exec torchrun "${meet[@]}" --nnodes="$NODES" --nproc-per-node="$PROCESSES" --module vocolab fit \
  -c "$recipe" --trainer "$TRAINER" --trainer.devices "$PROCESSES" --trainer.num_nodes "$NODES" \
  --trainer.default_root_dir "$RUN" "${resume[@]}" "$@"
