#!/bin/bash
# One shard a task:  sbatch --array=1-16 extract_array.sh REPORTS OUT [options of rsuper extract]
# When all are done: sbatch --array=0    extract_array.sh REPORTS OUT [the same options]      (merges them)
#SBATCH --job-name=extract
#SBATCH --cpus-per-task=8
#SBATCH --mem=16G
#SBATCH --time=08:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=TERM@300
# Not with --deidentify, which needs the ledger in OUT: extract with it on one machine, then OUT/cleaned_texts.jsonl here.
# GPU nodes: add --gres=gpu:1 here and `--backend vllm --model FOLDER` to the options; each task then holds one model.
set -euo pipefail
reports=$1 out=$2
shift 2

# The ledger lies on the node's own disk while the task runs; OUT, on the shared file system, gets a copy at the end and
# when Slurm asks the task to stop, and any node goes on from it.
ledger=${SLURM_TMPDIR:-/tmp}/extract-ledger-$USER

shard=()
if [ "${SLURM_ARRAY_TASK_ID:-0}" -gt 0 ]; then
    shard=(--shard "$SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_MAX")
fi
status=0
srun rsuper extract "$reports" --out "$out" --ledger "$ledger" "${shard[@]}" \
    --workers "${SLURM_CPUS_PER_TASK:-1}" "$@" || status=$?

case $status in
    4) exit 0 ;;                                    # done; some reports are quarantined, studies.csv says why
    143) scontrol requeue "${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID" ;; # out of time: goes on where it stopped
    *) exit $status ;;
esac
