#!/usr/bin/env bash
# One training on several processes and nodes, which outlives them: torchrun starts its processes, and
# starts them anew when one has died or a node has come or gone; each start goes on from the run's newest checkpoint.
#
#   scripts/torchrun.sh RUN --config configs/transformer.yaml [OPTION]...
#
# RUN is the run's folder, on a file system that all nodes share. The same command begins the run and, after an
# interruption of everything, goes on with it. On several nodes type it on each of them, with the same variables:
#   NODES      how many nodes; 1:2 goes on with one while the other is away (1)
#   HOST       name of one of them and a free port, where they meet, as node1:29500; it must not be lost (localhost)
#   PROCESSES  processes a node (one for each GPU, or else for each processor)
#   RESTARTS   how often processes that have died are replaced; a node that comes or goes does not count (3)
#   WAIT       seconds to wait for the rest of the nodes once there are enough (30)
set -euo pipefail
run=${1:?usage: $0 RUN --config FILE [OPTION]...} && shift
exec python -m s2s_lightning.cluster.torchrun --nnodes "${NODES:-1}" --nproc-per-node "${PROCESSES:-auto}" \
    --rdzv-backend c10d --rdzv-endpoint "${HOST:-localhost:0}" --rdzv-id "$(basename "$run")" \
    --rdzv-conf "last_call_timeout=${WAIT:-30}" --max-restarts "${RESTARTS:-3}" \
    -m -- s2s_lightning fit --run "$run" "$@"
